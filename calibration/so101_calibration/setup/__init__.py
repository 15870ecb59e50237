"""`so101-setup`: the first hour, step by step.

`steps` has them in their order, `arms`, `looking`, `place` and `recording` what they do, `work` what they do it with;
`cameras` pictures, `person` questions and answers, `running` commands, `progress` what is done, on disk; `command` the
whole of it.
"""
