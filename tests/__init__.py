"""Tests, and what they are made with."""

import signal

# A parent may ignore them (`nohup`, many runners of CI), and what a test starts would, too.
for _name in ("SIGINT", "SIGHUP"):
    if _number := getattr(signal, _name, None):
        signal.signal(_number, signal.default_int_handler if _name == "SIGINT" else signal.SIG_DFL)
