// The worker that reads the reader's own files: large ones must not stop the page.

import { readFiles, useSentences } from "./readers/read.js";
import { serve } from "./remote.js";

serve({
  read: (files, given, sentences) => {
    useSentences(sentences);
    return readFiles(files, given);
  },
});
