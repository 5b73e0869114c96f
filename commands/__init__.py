"""What `dpc` does: one module per command, wired from configs/<command>.yaml."""
