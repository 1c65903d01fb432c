"""Worker processes: the job as JSON, the program of a worker, and the events that it sends."""
