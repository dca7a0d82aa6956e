"""Callbacks for the training loops of other frameworks, one module a framework; import the installed one."""
