"""CloudFormation templates before there is a stack: text, intrinsic functions, what rules read, what a run may do."""
