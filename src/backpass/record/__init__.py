"""What a run writes down, and what is computed again from that.

=============  =================================================================================
`settings`     what fixes a run, as ``run.json`` has it; `forks`, what held up to each fork
`record`       the evidence of a run in one object; `rows`, its training rows, found again
`checkpoints`  the carried values at some steps, within a budget; their hashes
`monitors`     what the layers look like at a few steps; `looking`, which steps
`folder`       the files of a run: `arrays` (safetensors), `scalars` (SQLite), `lock`
`store`        a whole record in its folder, written as it grows and read back
`replay`       any step again, by the same kernel; `parting`, where two runs part
`promise`      what may be promised of a replay on this machine
=============  =================================================================================
"""
