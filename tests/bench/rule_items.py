"""What the rule languages are compared on, and the predicates in those that are data. It imports nothing of Coreo.

Cloud Custodian's filters are judged by an interpreter of their own (`custodian.py`), JMESPath's by ours.
"""

from collections.abc import Callable
from typing import Any, Final


def groups(count: int) -> list[dict[str, Any]]:
    def permission(number: int) -> dict[str, Any]:
        ranges = [
            {"CidrIp": f"10.{number % 200}.0.0/16"},
            {"CidrIp": "0.0.0.0/0" if number % 40 == 0 else "192.168.0.0/16"},
        ]
        ports = (22, 22) if number % 3 == 0 else (443, 443)
        return {"IpProtocol": "tcp", "FromPort": ports[0], "ToPort": ports[1], "IpRanges": ranges, "Ipv6Ranges": []}

    return [
        {
            "GroupId": f"sg-{n}",
            "GroupName": "web",
            "OwnerId": "1",
            "IpPermissions": [permission(n + k) for k in range(3)],
        }
        for n in range(count)
    ]


def databases(count: int) -> list[dict[str, Any]]:
    return [
        {
            "DBInstanceIdentifier": f"db-{n}",
            "StorageEncrypted": n % 10 != 0,
            "PubliclyAccessible": n % 13 == 0,
            "BackupRetentionPeriod": n % 30,
        }
        for n in range(count)
    ]


def instances(count: int) -> list[dict[str, Any]]:
    return [
        {
            "InstanceId": f"i-{n}",
            "State": {"Name": "running" if n % 4 else "stopped"},
            "Tags": [{"Key": key, "Value": "x"} for key in ("Name", "Stage", "Team", "Owner")[: 3 + n % 2]],
        }
        for n in range(count)
    ]


ITEMS: Final[dict[str, Callable[[int], list[dict[str, Any]]]]] = {
    "group open on 22": groups,
    "database settings": databases,
    "instance without owner": instances,
}
JMESPATH: Final[dict[str, str]] = {
    # It has no address sets: it compares texts, which is less work.
    "group open on 22": "length(IpPermissions[?(IpProtocol=='tcp' || IpProtocol=='-1') && FromPort<=`22` && "
    "ToPort>=`22` && (IpRanges[?CidrIp=='0.0.0.0/0'] || Ipv6Ranges[?CidrIpv6=='::/0'])]) > `0`",
    "database settings": "StorageEncrypted != `true` || PubliclyAccessible == `true` || BackupRetentionPeriod < `7`",
    "instance without owner": "State.Name == 'running' && length(Tags[?Key=='Owner' && Value!='']) == `0`",
}
# Resource and filters, as its documentation has them; addresses are texts here too.
CUSTODIAN: Final[dict[str, tuple[str, list[Any]]]] = {
    "group open on 22": (
        "aws.security-group",
        [
            {
                "or": [
                    {"type": "ingress", "Ports": [22], "Cidr": {"value": "0.0.0.0/0"}},
                    {"type": "ingress", "Ports": [22], "CidrV6": {"value": "::/0"}},
                ]
            }
        ],
    ),
    "database settings": (
        "aws.rds",
        [
            {
                "or": [
                    {"StorageEncrypted": False},
                    {"PubliclyAccessible": True},
                    {"type": "value", "key": "BackupRetentionPeriod", "op": "lt", "value": 7},
                ]
            }
        ],
    ),
    "instance without owner": (
        "aws.ec2",
        [{"State.Name": "running"}, {"type": "value", "key": "tag:Owner", "value": "empty"}],
    ),
}
