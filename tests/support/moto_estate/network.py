"""What is reached: networks, load balancers, distributions, APIs."""

from collections.abc import Iterator
from typing import Any

from tests.support.moto_aws import ACCOUNT, REGION
from tests.support.moto_estate.base import Expected, a_subnet, both, client, plant, role, said


@plant
def _network() -> Iterator[Expected]:
    ec2 = client("ec2")
    [vpc] = [each["VpcId"] for each in ec2.describe_vpcs()["Vpcs"]]
    own = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    ec2.create_tags(Resources=[own], Tags=[{"Key": "Owner", "Value": "web"}])
    client("s3").create_bucket(Bucket="flow-bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    ec2.create_flow_logs(
        ResourceIds=[own],
        ResourceType="VPC",
        TrafficType="ALL",
        LogDestinationType="s3",
        LogDestination="arn:aws:s3:::flow-bucket",
    )
    yield said("vpc-flow-logs-off", vpc, own)
    yield said("vpc-tags", passes=own)
    for name in ("ec2", "ecr.api", "ecr.dkr", "ssm"):
        ec2.create_vpc_endpoint(VpcId=own, ServiceName=f"com.amazonaws.{REGION}.{name}", VpcEndpointType="Interface")
    for rule in ("ec2", "ecr-api", "ecr-docker", "ssm"):
        yield said(f"vpc-endpoint-{rule}-missing", vpc, own)
    yield said("vpc-endpoint-ssm-contacts-missing", f"{vpc} {own}")
    groups = {}
    for name, cidr, port in (("ssh", "0.0.0.0/0", 22), ("web", "0.0.0.0/0", 443), ("inside", "10.0.0.0/8", 22)):
        groups[name] = ec2.create_security_group(GroupName=name, Description="d", VpcId=own)["GroupId"]
        ec2.authorize_security_group_ingress(
            GroupId=groups[name],
            IpPermissions=[{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": cidr}]}],
        )
    yield said("ec2-security-group-open-ssh", groups["ssh"], f"{groups['web']} {groups['inside']}")
    yield said("ec2-security-group-open-unauthorized-port", groups["ssh"], f"{groups['web']} {groups['inside']}")
    acls = {}
    for name, cidr, net in (("bad", "0.0.0.0/0", "10.9.1.0/24"), ("good", "10.0.0.0/8", "10.9.2.0/24")):
        acls[name] = ec2.create_network_acl(VpcId=own)["NetworkAcl"]["NetworkAclId"]
        subnet = ec2.create_subnet(VpcId=own, CidrBlock=net)["Subnet"]["SubnetId"]
        ids = [
            association["NetworkAclAssociationId"]
            for acl in ec2.describe_network_acls()["NetworkAcls"]
            for association in acl["Associations"]
            if association["SubnetId"] == subnet
        ]
        ec2.replace_network_acl_association(AssociationId=ids[0], NetworkAclId=acls[name])
        ec2.create_network_acl_entry(
            NetworkAclId=acls[name],
            RuleNumber=100,
            Protocol="6",
            RuleAction="allow",
            Egress=False,
            CidrBlock=cidr,
            PortRange={"From": 22, "To": 22},
        )
    yield said("ec2-network-acl-open-ssh", acls["bad"], acls["good"])
    spare = ec2.create_network_acl(VpcId=own)["NetworkAcl"]["NetworkAclId"]
    yield said("ec2-network-acl-unused", spare, acls["good"])
    used = ec2.allocate_address(Domain="vpc")
    unused = ec2.allocate_address(Domain="vpc")["PublicIp"]
    interface = ec2.create_network_interface(SubnetId=a_subnet())["NetworkInterface"]["NetworkInterfaceId"]
    ec2.associate_address(AllocationId=used["AllocationId"], NetworkInterfaceId=interface)
    yield said("ec2-address-unassociated", unused, used["PublicIp"])
    gateways = {}
    for name, value in (("bad", "enable"), ("good", "disable")):
        made = ec2.create_transit_gateway(Options={"AutoAcceptSharedAttachments": value})["TransitGateway"]
        gateways[name] = made["TransitGatewayId"]
    yield said("ec2-transit-gateway-auto-accept", gateways["bad"], gateways["good"])


@plant
def _load_balancers() -> Iterator[Expected]:
    elb = client("elb")
    iam_certificate = f"arn:aws:iam::{ACCOUNT}:server-certificate/web"
    listener = {"LoadBalancerPort": 443, "InstancePort": 443, "InstanceProtocol": "HTTPS", "Protocol": "HTTPS"}
    zones = [f"{REGION}a", f"{REGION}b"]
    plain = {"LoadBalancerPort": 80, "InstancePort": 80, "InstanceProtocol": "HTTP", "Protocol": "HTTP"}
    elb.create_load_balancer(
        LoadBalancerName="bad",
        Listeners=[plain, listener | {"SSLCertificateId": iam_certificate}],
        AvailabilityZones=zones[:1],
    )
    certificate = client("acm").request_certificate(DomainName="example.com")["CertificateArn"]
    elb.create_load_balancer(
        LoadBalancerName="good", Listeners=[listener | {"SSLCertificateId": certificate}], AvailabilityZones=zones
    )
    elb.modify_load_balancer_attributes(
        LoadBalancerName="good",
        LoadBalancerAttributes={
            "CrossZoneLoadBalancing": {"Enabled": True},
            "AccessLog": {"Enabled": True, "S3BucketName": "logs", "EmitInterval": 5, "S3BucketPrefix": ""},
            "ConnectionDraining": {"Enabled": True, "Timeout": 60},
        },
    )
    yield from both(
        "bad",
        "good",
        "elb-access-logs",
        "elb-certificate-not-acm",
        "elb-connection-draining",
        "elb-cross-zone",
        "elb-multi-az",
        "elb-plain-listener",
    )
    elbv2 = client("elbv2")
    group = client("ec2").create_security_group(GroupName="balancer", Description="d")["GroupId"]
    arns = {}
    for name, attributes in (
        ("bad", {"routing.http.drop_invalid_header_fields.enabled": "false"}),
        (
            "good",
            {
                "routing.http.drop_invalid_header_fields.enabled": "true",
                "deletion_protection.enabled": "true",
                "access_logs.s3.enabled": "true",
                "access_logs.s3.bucket": "logs",
                "routing.http.desync_mitigation_mode": "strictest",
            },
        ),
    ):
        made = elbv2.create_load_balancer(Name=name, Subnets=[a_subnet(0), a_subnet(1)], SecurityGroups=[group])
        arns[name] = made["LoadBalancers"][0]["LoadBalancerArn"]
        pairs = [{"Key": key, "Value": value} for key, value in attributes.items()]
        elbv2.modify_load_balancer_attributes(LoadBalancerArn=arns[name], Attributes=pairs)
    yield from both("bad", "good", "elbv2-access-logs", "elbv2-deletion-protection", "elbv2-invalid-headers")
    yield said("elbv2-multi-az", passes="bad good")
    fixed: Any = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}
    redirect: Any = {
        "Type": "redirect",
        "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"},
    }
    listeners = {}
    for name, action in (("bad", fixed), ("good", redirect)):
        made = elbv2.create_listener(LoadBalancerArn=arns[name], Protocol="HTTP", Port=80, DefaultActions=[action])
        listeners[name] = made["Listeners"][0]["ListenerArn"]
    yield said("elbv2-listener-plain-http", listeners["bad"], listeners["good"])
    tls = {}
    for name, policy in (("bad", "ELBSecurityPolicy-2016-08"), ("good", "ELBSecurityPolicy-TLS13-1-2-2021-06")):
        made = elbv2.create_listener(
            LoadBalancerArn=arns[name],
            Protocol="HTTPS",
            Port=443,
            DefaultActions=[fixed],
            Certificates=[{"CertificateArn": certificate}],
            SslPolicy=policy,
        )
        tls[name] = made["Listeners"][0]["ListenerArn"]
    yield said("elbv2-listener-weak-tls", tls["bad"], tls["good"])


@plant
def _edge() -> Iterator[Expected]:
    origin: Any = {
        "Id": "o",
        "DomainName": "www.example.com",
        "CustomOriginConfig": {
            "HTTPPort": 80,
            "HTTPSPort": 443,
            "OriginProtocolPolicy": "http-only",
            "OriginSslProtocols": {"Quantity": 1, "Items": ["SSLv3"]},
        },
    }
    behaviour: Any = {"TargetOriginId": "o", "ViewerProtocolPolicy": "allow-all"}
    ids = {}
    cloudfront = client("cloudfront", "us-east-1")
    for name, root, policy, protocol, tls in (
        ("bad", "", "allow-all", "http-only", "SSLv3"),
        ("good", "index.html", "redirect-to-https", "https-only", "TLSv1.2"),
    ):
        custom = origin["CustomOriginConfig"] | {
            "OriginProtocolPolicy": protocol,
            "OriginSslProtocols": {"Quantity": 1, "Items": [tls]},
        }
        made = cloudfront.create_distribution(
            DistributionConfig={
                "CallerReference": name,
                "Comment": name,
                "Enabled": True,
                "DefaultRootObject": root,
                "Origins": {"Quantity": 1, "Items": [origin | {"CustomOriginConfig": custom}]},
                "DefaultCacheBehavior": behaviour | {"ViewerProtocolPolicy": policy},
            }
        )["Distribution"]
        ids[name] = made["Id"]
    yield from both(
        ids["bad"],
        ids["good"],
        "cloudfront-default-root",
        "cloudfront-plain-http",
        "cloudfront-origin-plain-http",
        "cloudfront-origin-old-tls",
    )
    yield said("cloudfront-origin-failover", f"{ids['bad']} {ids['good']}")
    wafv2 = client("wafv2")
    look: Any = {"SampledRequestsEnabled": True, "CloudWatchMetricsEnabled": True, "MetricName": "m"}
    rule: Any = {"Name": "r", "Priority": 1, "Statement": {"GeoMatchStatement": {"CountryCodes": ["AQ"]}}}
    rule |= {"Action": {"Block": {}}, "VisibilityConfig": look}
    common: Any = {"DefaultAction": {"Allow": {}}, "VisibilityConfig": look}
    wafv2.create_web_acl(Name="bad", Scope="REGIONAL", Rules=[], **common)
    good = wafv2.create_web_acl(Name="good", Scope="REGIONAL", Rules=[rule], **common)["Summary"]["ARN"]
    wafv2.put_logging_configuration(
        LoggingConfiguration={"ResourceArn": good, "LogDestinationConfigs": ["arn:aws:s3:::aws-waf-logs-x"]}
    )
    yield from both("bad", "good", "wafv2-empty", "wafv2-logging")
    yield said("wafv2-metrics", passes="good")


@plant
def _apis() -> Iterator[Expected]:
    gateway = client("apigateway")
    api = gateway.create_rest_api(name="api")["id"]
    root = gateway.get_resources(restApiId=api)["items"][0]["id"]
    gateway.put_method(restApiId=api, resourceId=root, httpMethod="GET", authorizationType="NONE")
    gateway.put_integration(restApiId=api, resourceId=root, httpMethod="GET", type="MOCK")
    deployment = gateway.create_deployment(restApiId=api, stageName="bad")["id"]
    gateway.create_stage(restApiId=api, stageName="good", deploymentId=deployment, tracingEnabled=True)
    gateway.update_stage(
        restApiId=api,
        stageName="good",
        patchOperations=[{"op": "replace", "path": "/*/*/logging/loglevel", "value": "ERROR"}],
    )
    yield from both(f"{api}/bad", f"{api}/good", "apigateway-tracing", "apigateway-execution-logs")
    http = client("apigatewayv2")
    api = http.create_api(Name="api", ProtocolType="HTTP")["ApiId"]
    http.create_stage(ApiId=api, StageName="bad")
    http.create_stage(
        ApiId=api, StageName="good", AccessLogSettings={"DestinationArn": "arn:aws:logs:::g", "Format": "f"}
    )
    yield from both(f"{api}/bad", f"{api}/good", "apigatewayv2-access-logs")
    appsync = client("appsync")
    appsync.create_graphql_api(name="bad", authenticationType="API_KEY")
    appsync.create_graphql_api(
        name="good",
        authenticationType="AWS_IAM",
        logConfig={"fieldLogLevel": "ERROR", "cloudWatchLogsRoleArn": role("appsync")},
    )
    yield from both("bad", "good", "appsync-api-key", "appsync-field-logs")
    zones = client("route53")
    zones.create_hosted_zone(Name="example.org.", CallerReference="1")
    yield said("route53-dnssec", "example.org.")
    pool = client("cognito-idp")
    pool.create_user_pool(PoolName="bad", Policies={"PasswordPolicy": {"MinimumLength": 6}})
    pool.create_user_pool(
        PoolName="good",
        MfaConfiguration="ON",
        DeletionProtection="ACTIVE",
        UserPoolAddOns={"AdvancedSecurityMode": "ENFORCED"},
        Policies={
            "PasswordPolicy": {
                "MinimumLength": 14,
                "RequireUppercase": True,
                "RequireLowercase": True,
                "RequireNumbers": True,
                "RequireSymbols": True,
                "TemporaryPasswordValidityDays": 7,
            }
        },
    )
    yield from both(
        "bad",
        "good",
        "cognito-mfa",
        "cognito-threat-protection",
        "cognito-weak-passwords",
        "cognito-password-complexity",
        "cognito-deletion-protection",
    )
    identities = client("cognito-identity")
    for name, guests in (("bad", True), ("good", False)):
        identities.create_identity_pool(IdentityPoolName=name, AllowUnauthenticatedIdentities=guests)
    yield from both("bad", "good", "cognito-identity-pool-guests")
