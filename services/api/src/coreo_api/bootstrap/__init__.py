"""Making a role with the customer's access key. The key is used here, within one request, and goes nowhere else: what
leaves are requests to IAM that are signed with it, sealed for the workers that will send them."""
