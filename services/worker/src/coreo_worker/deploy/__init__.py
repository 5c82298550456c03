"""Deploy runs: previews, applies, drift detection and removals of one CloudFormation stack.

What to do next is decided by pure functions (`statuses`, `operation`, `deciding`, `pacing`) from the run's checkpoint
and what AWS says; the drivers (`preparing`, `removal`, `changing`, `drifting`) ask AWS and do it.
"""
