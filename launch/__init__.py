"""One command a file, run as `python -m launch.NAME` or `tfbackdoor-NAME`.

`flags/` has the flags that commands share, `running/` what is around a job:
its folder, its record, signals and errors. Installed, this package is
`tfbackdoor_launch`.
"""
