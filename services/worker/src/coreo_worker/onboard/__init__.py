"""Making a customer's role with requests that the api signed with the customer's keys."""
