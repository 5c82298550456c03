"""Networks, instances and volumes of the estate."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from coreo_embedded.estate.iam import HOME
from coreo_embedded.estate.planted import Account

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

_SSH = "ec2-security-group-open-ssh"
_RDP = "ec2-security-group-open-rdp"
_ALL_PORTS = "ec2-security-group-open-all-ports"
_DATABASE = "ec2-security-group-open-database"
_HIGH_RISK = "ec2-security-group-open-high-risk-ports"
_OTHER_PORT = "ec2-security-group-open-unauthorized-port"
_DEFAULT_OPEN = "ec2-security-group-default-open"
_FLOW_LOGS = "vpc-flow-logs-off"
_ANYWHERE = ("0.0.0.0/0",)

# region -> what was left as AWS makes it; everywhere else the default network is locked and logged
_LEFT_OPEN = {HOME: {_DEFAULT_OPEN, _FLOW_LOGS}, "ap-southeast-2": {_DEFAULT_OPEN}}

# region, name, [(protocol, first port, last port, sources)], the rules it fails
_GROUPS: tuple[tuple[str, str, tuple[tuple[str, int, int, tuple[str, ...]], ...], set[str]], ...] = (
    (HOME, "web", (("tcp", 80, 80, _ANYWHERE), ("tcp", 443, 443, ("0.0.0.0/0", "::/0"))), set()),
    (HOME, "office-ssh", (("tcp", 22, 22, ("203.0.113.0/24",)),), set()),
    (HOME, "bastion", (("tcp", 22, 22, _ANYWHERE),), {_SSH, _OTHER_PORT}),
    (HOME, "two-halves", (("tcp", 22, 22, ("0.0.0.0/1", "128.0.0.0/1")),), {_SSH, _OTHER_PORT}),
    (HOME, "low-ports", (("tcp", 0, 1024, _ANYWHERE),), {_SSH, _HIGH_RISK, _OTHER_PORT}),
    (HOME, "tftp", (("udp", 22, 22, _ANYWHERE),), {_OTHER_PORT}),
    ("eu-west-1", "windows", (("tcp", 3389, 3389, ("::/0",)),), {_RDP, _OTHER_PORT}),
    ("eu-west-1", "postgres", (("tcp", 5432, 5432, _ANYWHERE),), {_DATABASE, _OTHER_PORT}),
    ("eu-west-1", "postgres-inside", (("tcp", 5432, 5432, ("10.0.0.0/8",)),), set()),
    (
        "ap-southeast-2",
        "everything",
        (("-1", -1, -1, ("::/0",)),),
        {_SSH, _RDP, _ALL_PORTS, _DATABASE, _HIGH_RISK, _OTHER_PORT},
    ),
)

# What the simulator says of every instance: no metadata options, a public address, basic monitoring.
_EVERY_INSTANCE = frozenset({"ec2-instance-imdsv1", "ec2-instance-public-ip", "ec2-instance-detailed-monitoring"})
_INSTANCE_RULES = _EVERY_INSTANCE | {"ec2-instance-metadata-hop-limit", "ec2-instance-profile"}


def plant_network(account: Account) -> None:
    """Makes the EC2 part in every region."""
    ec2: EC2Client = account.client("ec2", HOME)
    regions = sorted(region["RegionName"] for region in ec2.describe_regions()["Regions"])
    with ThreadPoolExecutor(max_workers=4) as pool:
        vpcs = dict(zip(regions, pool.map(lambda region: _default_network(account, region), regions), strict=True))
    for region, name, permissions, fails in _GROUPS:
        _group(account, region, vpcs[region], name, permissions, fails)
    ec2.create_managed_prefix_list(
        PrefixListName="offices",
        AddressFamily="IPv4",
        MaxEntries=5,
        Entries=[{"Cidr": "203.0.113.0/24", "Description": "Head office"}],
    )
    _instances(account)
    _volumes(account)


def _default_network(account: Account, region: str) -> str:
    """Locks and logs the region's default network where it was not left open; returns its id."""
    ec2: EC2Client = account.client("ec2", region)
    left = _LEFT_OPEN.get(region, set())
    group = ec2.describe_security_groups()["SecurityGroups"][0]
    if _DEFAULT_OPEN not in left:
        ec2.revoke_security_group_egress(
            GroupId=group["GroupId"], IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
        )
    if _FLOW_LOGS not in left:
        ec2.create_flow_logs(
            ResourceIds=[group["VpcId"]],
            ResourceType="VPC",
            TrafficType="REJECT",
            LogDestinationType="s3",
            LogDestination=f"arn:aws:s3:::access-logs-{account.id}",
        )
    account.plant("aws.ec2.security_group", group["GroupId"], region, fails=left & {_DEFAULT_OPEN})
    account.plant("aws.ec2.vpc", group["VpcId"], region, fails=left & {_FLOW_LOGS})
    return group["VpcId"]


def _group(
    account: Account,
    region: str,
    vpc: str,
    name: str,
    permissions: tuple[tuple[str, int, int, tuple[str, ...]], ...],
    fails: set[str],
) -> None:
    ec2: EC2Client = account.client("ec2", region)
    group = ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[_permission(*one) for one in permissions])
    account.plant("aws.ec2.security_group", group, region, fails=fails, spared={_DEFAULT_OPEN})


def _permission(protocol: str, first: int, last: int, sources: tuple[str, ...]) -> Any:
    permission: dict[str, Any] = {
        "IpProtocol": protocol,
        "IpRanges": [{"CidrIp": source} for source in sources if ":" not in source],
        "Ipv6Ranges": [{"CidrIpv6": source} for source in sources if ":" in source],
    }
    return permission if protocol == "-1" else permission | {"FromPort": first, "ToPort": last}


def _instances(account: Account) -> None:
    _instance(account, HOME, fails=_EVERY_INSTANCE, IamInstanceProfile={"Name": "web-server"})
    _instance(account, "eu-west-1", fails=_EVERY_INSTANCE | {"ec2-instance-profile"})
    gone = _instance(account, "eu-west-1", spared=_INSTANCE_RULES)
    ec2: EC2Client = account.client("ec2", "eu-west-1")
    ec2.terminate_instances(InstanceIds=[gone])


def _instance(
    account: Account,
    region: str,
    *,
    fails: frozenset[str] = frozenset(),
    spared: frozenset[str] = frozenset(),
    **settings: Any,
) -> str:
    """Starts an instance; its root volume, which the simulator never encrypts, is planted with it."""
    ec2: EC2Client = account.client("ec2", region)
    started = ec2.run_instances(
        ImageId="ami-0abcdef1234567890", InstanceType="t3.micro", MinCount=1, MaxCount=1, **settings
    )
    instance = started["Instances"][0]
    account.plant("aws.ec2.instance", instance["InstanceId"], region, fails=fails, spared=spared)
    for device in instance["BlockDeviceMappings"]:
        account.plant("aws.ec2.volume", device["Ebs"]["VolumeId"], region, fails={"ebs-volume-unencrypted"})
    return instance["InstanceId"]


def _volumes(account: Account) -> None:
    ec2: EC2Client = account.client("ec2", HOME)
    for encrypted in (True, False):
        volume = ec2.create_volume(AvailabilityZone=f"{HOME}a", Size=20, Encrypted=encrypted)["VolumeId"]
        account.plant("aws.ec2.volume", volume, HOME, fails=() if encrypted else {"ebs-volume-unencrypted"})
