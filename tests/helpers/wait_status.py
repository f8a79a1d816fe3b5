"""wait_status.py FILE COMMAND...: how COMMAND ended, as its parent sees it.

Writes its process number to FILE.pid, and in the end "exit N" or "signal N" to
FILE.  A shell cannot tell the two apart.  COMMAND starts without a terminal.
"""
import os
import subprocess
import sys

path, command = sys.argv[1], sys.argv[2:]


def write(name, text):
    with open(name + ".new", "w") as file:
        file.write(text + "\n")
    os.rename(name + ".new", name)


child = subprocess.Popen(command, start_new_session=True)
write(path + ".pid", str(child.pid))
code = child.wait()
write(path, "signal %d" % -code if code < 0 else "exit %d" % code)
