"""A CloudFormation template, looked at in a process that may use little and knows nothing.

`python -I -B -m coreo_lint` reads one request as JSON from standard input and writes one answer as JSON to standard
output; what they hold is in `coreo_lint.protocol`. The api starts one for each template, with an empty environment, and
ends it when it takes too long: templates come from anybody who has a token.
"""
