"""What must outlive the process: the write-ahead log, committed history, and the data folder's identity.

Synchronous; all file access of the log goes through `FileSystem`, so that the simulator can lose, tear and rot it.
"""
