"""JupyterHub for a class with the toolkit, see `docs/howto/jupyterhub.md`.

Start it: jupyterhub --config jupyterhub_config.py
"""

import sys

c = get_config()

# Users are the accounts of this computer. Choose another authenticator for a class:
# https://jupyterhub.readthedocs.io/en/stable/reference/authenticators.html
c.Spawner.default_url = "/lab/tree/00_start_here.ipynb"
c.Spawner.notebook_dir = "~/notebooks"
c.Spawner.start_timeout = c.Spawner.http_timeout = 120
# One thread each: ten students with all threads each are slower than ten with one.
c.Spawner.environment = {"OMP_NUM_THREADS": "1"}
# A kernel that nobody uses for 20 minutes is ended, then the server: this frees most of the memory.
c.Spawner.args = [
    "--MappingKernelManager.cull_idle_timeout=1200",
    "--MappingKernelManager.cull_connected=True",
    "--ServerApp.shutdown_no_activity_timeout=1800",
]
c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
