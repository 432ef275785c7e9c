"""Do explanations of LAMAE hold?"""
