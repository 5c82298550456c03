"""CloudFormation templates as data, read before there is a stack: text, intrinsic functions, and what rules read of it."""
