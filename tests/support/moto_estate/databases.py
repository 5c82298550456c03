"""Databases, warehouses, caches, brokers, search."""

from collections.abc import Iterator
from typing import Any

from tests.support.moto_aws import ACCOUNT, REGION
from tests.support.moto_estate.base import Expected, a_subnet, both, client, plant, role, said


@plant
def _databases() -> Iterator[Expected]:
    rds = client("rds")
    own = {"DBParameterGroupFamily": "postgres16", "Description": "d"}
    rds.create_db_parameter_group(DBParameterGroupName="forced", **own)
    rds.modify_db_parameter_group(
        DBParameterGroupName="forced",
        Parameters=[{"ParameterName": "rds.force_ssl", "ParameterValue": "1", "ApplyMethod": "pending-reboot"}],
    )
    common: Any = {
        "Engine": "postgres",
        "DBInstanceClass": "db.t3.medium",
        "AllocatedStorage": 20,
        "MasterUserPassword": "Correct-horse-9",
    }
    rds.create_db_instance(
        DBInstanceIdentifier="bad",
        MasterUsername="postgres",
        PubliclyAccessible=True,
        BackupRetentionPeriod=1,
        AutoMinorVersionUpgrade=False,
        **common,
    )
    rds.create_db_instance(
        DBInstanceIdentifier="good",
        MasterUsername="owner",
        PubliclyAccessible=False,
        StorageEncrypted=True,
        BackupRetentionPeriod=14,
        MultiAZ=True,
        DeletionProtection=True,
        CopyTagsToSnapshot=True,
        EnableIAMDatabaseAuthentication=True,
        EnableCloudwatchLogsExports=["postgresql"],
        AutoMinorVersionUpgrade=True,
        MonitoringInterval=60,
        MonitoringRoleArn=role("monitoring"),
        Port=5999,
        DBParameterGroupName="forced",
        Tags=[{"Key": "Owner", "Value": "web"}],
        **common,
    )
    yield from both(
        "bad",
        "good",
        "rds-instance-backups",
        "rds-instance-copy-tags",
        "rds-instance-default-admin",
        "rds-instance-default-port",
        "rds-instance-deletion-protection",
        "rds-instance-iam-authentication",
        "rds-instance-log-exports",
        "rds-instance-minor-upgrades",
        "rds-instance-multi-az",
        "rds-instance-plain-traffic",
        "rds-instance-postgres-logs",
        "rds-instance-public",
        "rds-instance-tags",
        "rds-instance-unencrypted",
    )
    for name in ("bad", "good"):
        rds.create_db_snapshot(DBInstanceIdentifier=name, DBSnapshotIdentifier=f"{name}-snapshot")
    rds.modify_db_snapshot_attribute(DBSnapshotIdentifier="bad-snapshot", AttributeName="restore", ValuesToAdd=["all"])
    yield from both("bad-snapshot", "good-snapshot", "rds-snapshot-public", "rds-snapshot-unencrypted")
    cluster: Any = {"Engine": "aurora-mysql", "MasterUserPassword": "Correct-horse-9"}
    rds.create_db_cluster(DBClusterIdentifier="bad-cluster", MasterUsername="admin", **cluster)
    rds.create_db_cluster(
        DBClusterIdentifier="good-cluster",
        MasterUsername="owner",
        StorageEncrypted=True,
        BackupRetentionPeriod=14,
        DeletionProtection=True,
        CopyTagsToSnapshot=True,
        EnableIAMDatabaseAuthentication=True,
        EnableCloudwatchLogsExports=["audit"],
        **cluster,
    )
    yield from both(
        "bad-cluster",
        "good-cluster",
        "rds-cluster-audit-logs",
        "rds-cluster-backups",
        "rds-cluster-copy-tags",
        "rds-cluster-default-admin",
        "rds-cluster-deletion-protection",
        "rds-cluster-iam-authentication",
        "rds-cluster-unencrypted",
    )
    for name in ("bad", "good"):
        rds.create_db_cluster_snapshot(
            DBClusterIdentifier=f"{name}-cluster", DBClusterSnapshotIdentifier=f"{name}-cluster-snapshot"
        )
    rds.modify_db_cluster_snapshot_attribute(
        DBClusterSnapshotIdentifier="bad-cluster-snapshot", AttributeName="restore", ValuesToAdd=["all"]
    )
    yield from both(
        "bad-cluster-snapshot",
        "good-cluster-snapshot",
        "rds-cluster-snapshot-public",
        "rds-cluster-snapshot-unencrypted",
    )
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:t"
    for name, categories in (("bad-events", ["creation"]), ("good-events", ["maintenance", "failure"])):
        rds.create_event_subscription(
            SubscriptionName=name, SnsTopicArn=topic, SourceType="db-cluster", EventCategories=categories, Enabled=True
        )
    yield from both("bad-events", "good-events", "rds-events-cluster-incomplete")
    yield said("rds-events-parameter-group-missing", ACCOUNT)
    proxy: Any = {
        "EngineFamily": "POSTGRESQL",
        "Auth": [{"AuthScheme": "SECRETS", "SecretArn": "arn:aws:secretsmanager:eu-west-1:1:secret:s"}],
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/r",
        "VpcSubnetIds": [a_subnet(0), a_subnet(1)],
    }
    rds.create_db_proxy(DBProxyName="bad-proxy", RequireTLS=False, **proxy)
    rds.create_db_proxy(DBProxyName="good-proxy", RequireTLS=True, **proxy)
    yield from both("bad-proxy", "good-proxy", "rds-proxy-plain-traffic")
    redshift = client("redshift")
    node: Any = {"NodeType": "ra3.large", "MasterUserPassword": "Correct-horse-9", "ClusterType": "single-node"}
    redshift.create_cluster(
        ClusterIdentifier="bad",
        MasterUsername="awsuser",
        PubliclyAccessible=True,
        AllowVersionUpgrade=False,
        AutomatedSnapshotRetentionPeriod=1,
        **node,
    )
    redshift.create_cluster(
        ClusterIdentifier="good",
        MasterUsername="owner",
        PubliclyAccessible=False,
        Encrypted=True,
        AllowVersionUpgrade=True,
        AutomatedSnapshotRetentionPeriod=14,
        EnhancedVpcRouting=True,
        **node,
    )
    yield from both(
        "bad",
        "good",
        "redshift-default-admin",
        "redshift-public",
        "redshift-snapshots",
        "redshift-unencrypted",
        "redshift-upgrades",
        "redshift-vpc-routing",
    )


@plant
def _analytics() -> Iterator[Expected]:
    athena = client("athena")
    athena.create_work_group(Name="bad", Configuration={"EnforceWorkGroupConfiguration": False})
    athena.create_work_group(
        Name="good",
        Configuration={
            "EnforceWorkGroupConfiguration": True,
            "PublishCloudWatchMetricsEnabled": True,
            "ResultConfiguration": {"EncryptionConfiguration": {"EncryptionOption": "SSE_S3"}},
        },
    )
    yield from both("bad", "good", "athena-enforce-settings", "athena-metrics", "athena-results-unencrypted")
    glue = client("glue")
    command = {"Name": "glueetl", "ScriptLocation": "s3://b/x"}
    glue.create_job(Name="bad", Role=role("glue"), Command=command, GlueVersion="1.0")
    glue.create_job(Name="good", Role=role("glue"), Command=command, GlueVersion="5.0", SecurityConfiguration="c")
    yield from both("bad", "good", "glue-job-old-version", "glue-job-security-configuration")
    kafka = client("kafka")
    nodes: Any = {"InstanceType": "kafka.m7g.large", "ClientSubnets": [a_subnet(0), a_subnet(1)]}
    for name, transit in (("bad", "TLS_PLAINTEXT"), ("good", "TLS")):
        kafka.create_cluster(
            ClusterName=name,
            KafkaVersion="3.8.x",
            NumberOfBrokerNodes=2,
            BrokerNodeGroupInfo=nodes,
            EncryptionInfo={"EncryptionInTransit": {"ClientBroker": transit, "InCluster": True}},
            EnhancedMonitoring="PER_TOPIC_PER_BROKER" if name == "good" else "DEFAULT",
        )
    yield from both("bad", "good", "msk-plain-traffic", "msk-monitoring")
    search = client("opensearch")
    search.create_domain(DomainName="bad-domain", EngineVersion="OpenSearch_2.19")
    search.create_domain(
        DomainName="good-domain",
        EngineVersion="OpenSearch_2.19",
        ClusterConfig={
            "InstanceCount": 3,
            "ZoneAwarenessEnabled": True,
            "DedicatedMasterEnabled": True,
            "DedicatedMasterCount": 3,
        },
        EncryptionAtRestOptions={"Enabled": True},
        NodeToNodeEncryptionOptions={"Enabled": True},
        DomainEndpointOptions={"EnforceHTTPS": True, "TLSSecurityPolicy": "Policy-Min-TLS-1-2-PFS-2023-10"},
        AdvancedSecurityOptions={"Enabled": True},
    )
    yield from both(
        "bad-domain",
        "good-domain",
        "opensearch-data-nodes",
        "opensearch-dedicated-masters",
        "opensearch-fine-grained-access",
        "opensearch-https",
        "opensearch-node-to-node",
        "opensearch-unencrypted",
    )


@plant
def _caches_and_brokers() -> Iterator[Expected]:
    cache = client("elasticache")
    cache.create_replication_group(
        ReplicationGroupId="bad", ReplicationGroupDescription="d", CacheNodeType="cache.t4g.micro"
    )
    cache.create_replication_group(
        ReplicationGroupId="good",
        ReplicationGroupDescription="d",
        CacheNodeType="cache.t4g.micro",
        AtRestEncryptionEnabled=True,
        TransitEncryptionEnabled=True,
        AutomaticFailoverEnabled=True,
        MultiAZEnabled=True,
        NumCacheClusters=2,
        SnapshotRetentionLimit=7,
        AuthToken="Correct-horse-battery-9",
    )
    yield from both(
        "bad",
        "good",
        "elasticache-backups",
        "elasticache-failover",
        "elasticache-multi-az",
        "elasticache-plain-traffic",
        "elasticache-unencrypted",
    )
    mq = client("mq")
    broker: Any = {
        "EngineType": "ACTIVEMQ",
        "EngineVersion": "5.18",
        "HostInstanceType": "mq.m5.large",
        "Users": [{"Username": "u", "Password": "Correct-horse-9"}],
    }
    mq.create_broker(
        BrokerName="bad",
        PubliclyAccessible=True,
        AutoMinorVersionUpgrade=False,
        DeploymentMode="SINGLE_INSTANCE",
        **broker,
    )
    mq.create_broker(
        BrokerName="good",
        PubliclyAccessible=False,
        AutoMinorVersionUpgrade=True,
        DeploymentMode="ACTIVE_STANDBY_MULTI_AZ",
        Logs={"Audit": True, "General": True},
        **broker,
    )
    yield from both("bad", "good", "mq-minor-upgrades", "mq-public", "mq-single-instance", "mq-audit-logs")
    dms = client("dms")
    for name, more in (
        ("bad", {"PubliclyAccessible": True, "AutoMinorVersionUpgrade": False, "MultiAZ": False}),
        ("good", {"PubliclyAccessible": False, "AutoMinorVersionUpgrade": True, "MultiAZ": True}),
    ):
        dms.create_replication_instance(
            ReplicationInstanceIdentifier=name, ReplicationInstanceClass="dms.t3.micro", **more
        )
    yield from both("bad", "good", "dms-instance-public", "dms-instance-minor-upgrades", "dms-instance-multi-az")
    for name, mode in (("bad", "none"), ("good", "require")):
        dms.create_endpoint(EndpointIdentifier=name, EndpointType="source", EngineName="postgres", SslMode=mode)
    yield from both("bad", "good", "dms-endpoint-plain-traffic")
    memory = client("memorydb")
    memory.create_cluster(ClusterName="bad", NodeType="db.t4g.small", ACLName="open-access", TLSEnabled=False)
    memory.create_cluster(
        ClusterName="good", NodeType="db.t4g.small", ACLName="mine", TLSEnabled=True, SnapshotRetentionLimit=7
    )
    yield from both("bad", "good", "memorydb-open-access", "memorydb-plain-traffic", "memorydb-backups")
