"""What runs: containers, functions, machines, models, builds."""

import json
from collections.abc import Iterator
from typing import Any

from tests.support.moto_aws import ACCOUNT, REGION
from tests.support.moto_estate.base import Expected, a_subnet, both, client, function, plant, public, role, said


@plant
def _containers() -> Iterator[Expected]:
    ecr = client("ecr")
    ecr.create_repository(repositoryName="bad")
    ecr.set_repository_policy(repositoryName="bad", policyText=public("ecr:BatchGetImage", "*"))
    ecr.create_repository(
        repositoryName="good", imageTagMutability="IMMUTABLE", imageScanningConfiguration={"scanOnPush": True}
    )
    expiry: Any = {
        "rulePriority": 1,
        "selection": {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 5},
        "action": {"type": "expire"},
    }
    ecr.put_lifecycle_policy(repositoryName="good", lifecyclePolicyText=json.dumps({"rules": [expiry]}))
    yield from both("bad", "good", "ecr-mutable-tags", "ecr-scan-on-push", "ecr-lifecycle", "ecr-public")
    ecs = client("ecs")
    clusters = {
        name: ecs.create_cluster(clusterName=name, settings=[{"name": "containerInsights", "value": value}])["cluster"]
        for name, value in (("bad", "disabled"), ("good", "enabled"))
    }
    yield said("ecs-container-insights", clusters["bad"]["clusterArn"], clusters["good"]["clusterArn"])
    bad: Any = {
        "name": "web",
        "image": "web",
        "memory": 128,
        "privileged": True,
        "environment": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}],
    }
    good: Any = {
        "name": "web",
        "image": "web",
        "memory": 128,
        "readonlyRootFilesystem": True,
        "user": "1000",
        "logConfiguration": {"logDriver": "awslogs", "options": {}},
    }
    tasks = {
        "bad": ecs.register_task_definition(
            family="bad", networkMode="host", pidMode="host", containerDefinitions=[bad]
        ),
        "good": ecs.register_task_definition(family="good", networkMode="awsvpc", containerDefinitions=[good]),
    }
    arns = {name: made["taskDefinition"]["taskDefinitionArn"] for name, made in tasks.items()}
    yield from both(
        arns["bad"],
        arns["good"],
        "ecs-task-host-network",
        "ecs-task-host-pid",
        "ecs-task-logging",
        "ecs-task-privileged",
        "ecs-task-secrets",
        "ecs-task-writable-root",
    )
    group = client("ec2").create_security_group(GroupName="service", Description="d")["GroupId"]
    services = {
        name: ecs.create_service(
            cluster="good",
            serviceName=name,
            taskDefinition="good",
            desiredCount=0,
            launchType="FARGATE",
            platformVersion=version,
            networkConfiguration={
                "awsvpcConfiguration": {
                    "subnets": [a_subnet()],
                    "securityGroups": [group],
                    "assignPublicIp": address,
                }
            },
        )["service"]["serviceArn"]
        for name, address, version in (("bad", "ENABLED", "1.3.0"), ("good", "DISABLED", "LATEST"))
    }
    yield from both(services["bad"], services["good"], "ecs-service-public-ip", "ecs-fargate-old-platform")
    yield said("ecs-task-set-public-ip", passes=services["good"])
    eks = client("eks")
    role = f"arn:aws:iam::{ACCOUNT}:role/eks"
    eks.create_cluster(name="bad", roleArn=role, resourcesVpcConfig={"endpointPublicAccess": True})
    eks.create_cluster(
        name="good",
        roleArn=role,
        resourcesVpcConfig={"endpointPublicAccess": False, "endpointPrivateAccess": True},
        encryptionConfig=[{"resources": ["secrets"], "provider": {"keyArn": "arn:aws:kms:eu-west-1:1:key/k"}}],
        logging={
            "clusterLogging": [
                {"types": ["api", "audit", "authenticator", "controllerManager", "scheduler"], "enabled": True}
            ]
        },
    )
    yield from both("bad", "good", "eks-control-plane-logs", "eks-secrets-unencrypted")


@plant
def _functions() -> Iterator[Expected]:
    awslambda = client("lambda")
    function("bad", Runtime="python3.7")
    awslambda.add_permission(FunctionName="bad", StatementId="s", Action="lambda:InvokeFunction", Principal="*")
    group = client("ec2").create_security_group(GroupName="function", Description="d")["GroupId"]
    network = {"SubnetIds": [a_subnet(0), a_subnet(1)], "SecurityGroupIds": [group]}
    function("good", TracingConfig={"Mode": "Active"}, VpcConfig=network)
    yield from both("bad", "good", "lambda-old-runtime", "lambda-tracing", "lambda-public", "lambda-not-in-vpc")
    yield said("lambda-multi-az", passes="good")
    machine = client("stepfunctions")
    definition = json.dumps({"StartAt": "A", "States": {"A": {"Type": "Succeed"}}})
    common = {"definition": definition, "roleArn": role("lambda")}
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:states:*"
    logging = {"level": "ALL", "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": group}}]}
    machine.create_state_machine(name="bad", **common)
    machine.create_state_machine(
        name="good", loggingConfiguration=logging, tracingConfiguration={"enabled": True}, **common
    )
    yield from both("bad", "good", "stepfunctions-logging", "stepfunctions-tracing")


@plant
def _machines() -> Iterator[Expected]:
    ec2 = client("ec2")
    image = ec2.register_image(Name="mine", RootDeviceName="/dev/sda1")["ImageId"]
    open_image = ec2.register_image(Name="open", RootDeviceName="/dev/sda1")["ImageId"]
    ec2.modify_image_attribute(ImageId=open_image, LaunchPermission={"Add": [{"Group": "all"}]})
    yield said("ec2-image-public", open_image, image)
    common: Any = {"ImageId": image, "MinCount": 1, "MaxCount": 1}
    bad = ec2.run_instances(**common)["Instances"][0]["InstanceId"]
    profile = "web"
    client("iam").create_instance_profile(InstanceProfileName=profile)
    good = ec2.run_instances(
        **common,
        IamInstanceProfile={"Name": profile},
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        Monitoring={"Enabled": True},
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Owner", "Value": "web"}]}],
    )["Instances"][0]["InstanceId"]
    yield from both(bad, good, "ec2-instance-imdsv1", "ec2-instance-profile", "ec2-instance-tags")
    yield from both(bad, good, "ec2-instance-detailed-monitoring")
    yield said("ec2-instance-paravirtual", passes=f"{bad} {good}")
    stopped = ec2.run_instances(**common)["Instances"][0]["InstanceId"]
    ec2.stop_instances(InstanceIds=[stopped])
    yield said("ec2-instance-stopped-long", passes=stopped)
    zone = f"{REGION}a"
    volumes = {
        name: ec2.create_volume(AvailabilityZone=zone, Size=8, Encrypted=name == "good")["VolumeId"]
        for name in ("bad", "good")
    }
    snapshots = {name: ec2.create_snapshot(VolumeId=volumes[name])["SnapshotId"] for name in volumes}
    ec2.modify_snapshot_attribute(
        SnapshotId=snapshots["bad"],
        Attribute="createVolumePermission",
        OperationType="add",
        GroupNames=["all"],
    )
    yield said("ebs-volume-unencrypted", volumes["bad"], volumes["good"])
    yield said("ebs-snapshot-unencrypted", snapshots["bad"], snapshots["good"])
    yield said("ebs-snapshot-public", snapshots["bad"], snapshots["good"])
    templates = {}
    for name, data in (
        (
            "bad",
            {
                "NetworkInterfaces": [{"AssociatePublicIpAddress": True, "DeviceIndex": 0}],
                "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}],
            },
        ),
        (
            "good",
            {
                "MetadataOptions": {"HttpTokens": "required"},
                "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8, "Encrypted": True}}],
            },
        ),
    ):
        made = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)["LaunchTemplate"]
        templates[name] = made["LaunchTemplateId"]
    yield from both(
        templates["bad"],
        templates["good"],
        "ec2-launch-template-imdsv1",
        "ec2-launch-template-public-ip",
        "ec2-launch-template-volumes-unencrypted",
    )
    scaling = client("autoscaling")
    for name, more in (
        ("bad", {"AssociatePublicIpAddress": True}),
        ("good", {"AssociatePublicIpAddress": False, "MetadataOptions": {"HttpTokens": "required"}}),
    ):
        scaling.create_launch_configuration(
            LaunchConfigurationName=name, ImageId=image, InstanceType="t3.micro", **more
        )
    yield from both("bad", "good", "launch-configuration-imdsv1", "launch-configuration-public-ip")
    template: Any = {"LaunchTemplate": {"LaunchTemplateId": templates["good"], "Version": "$Default"}}
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="bad",
        LaunchConfigurationName="bad",
        MinSize=0,
        MaxSize=1,
        AvailabilityZones=[f"{REGION}a"],
    )
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="good",
        MixedInstancesPolicy={
            "LaunchTemplate": {
                "LaunchTemplateSpecification": template["LaunchTemplate"],
                "Overrides": [{"InstanceType": "m6i.large"}, {"InstanceType": "m7i.large"}],
            }
        },
        MinSize=0,
        MaxSize=1,
        AvailabilityZones=[f"{REGION}a", f"{REGION}b"],
    )
    yield from both("bad", "good", "autoscaling-instance-types", "autoscaling-launch-template", "autoscaling-multi-az")


@plant
def _learning() -> Iterator[Expected]:
    sagemaker = client("sagemaker")
    notebook: Any = {"InstanceType": "ml.t3.medium", "RoleArn": role("sagemaker")}
    sagemaker.create_notebook_instance(NotebookInstanceName="bad", **notebook)
    sagemaker.create_notebook_instance(
        NotebookInstanceName="good",
        SubnetId=a_subnet(),
        SecurityGroupIds=["sg-1"],
        DirectInternetAccess="Disabled",
        RootAccess="Disabled",
        KmsKeyId="k",
        **notebook,
    )
    yield from both(
        "bad",
        "good",
        "sagemaker-notebook-internet",
        "sagemaker-notebook-kms",
        "sagemaker-notebook-root",
        "sagemaker-notebook-vpc",
    )
    container: Any = {"PrimaryContainer": {"Image": "i"}, "ExecutionRoleArn": role("sagemaker")}
    sagemaker.create_model(ModelName="bad", **container)
    sagemaker.create_model(
        ModelName="good",
        VpcConfig={"SecurityGroupIds": ["sg-1"], "Subnets": [a_subnet()]},
        **container,
    )
    yield from both("bad", "good", "sagemaker-model-vpc")
    for name, count in (("bad", 1), ("good", 2)):
        variant: Any = {"VariantName": "v", "ModelName": "good", "InitialInstanceCount": count}
        sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[variant | {"InstanceType": "ml.m5.large"}]
        )
    yield from both("bad", "good", "sagemaker-endpoint-one-instance")


@plant
def _building_and_walls() -> Iterator[Expected]:
    transfer = client("transfer")
    bad = transfer.create_server(Protocols=["FTP"])["ServerId"]
    good = transfer.create_server(Protocols=["SFTP"], LoggingRole=role("transfer"))["ServerId"]
    yield from both(bad, good, "transfer-ftp", "transfer-logging")
    build = client("codebuild")
    project: Any = {
        "artifacts": {"type": "NO_ARTIFACTS"},
        "serviceRole": role("codebuild"),
    }
    place: Any = {"type": "LINUX_CONTAINER", "image": "i", "computeType": "BUILD_GENERAL1_SMALL"}
    build.create_project(
        name="bad",
        source={"type": "BITBUCKET", "location": "https://me:secret@bitbucket.org/acme/app.git"},
        environment=place
        | {
            "privilegedMode": True,
            "environmentVariables": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "x", "type": "PLAINTEXT"}],
        },
        logsConfig={"s3Logs": {"status": "ENABLED", "location": "b", "encryptionDisabled": True}},
        **project,
    )
    build.create_project(
        name="good",
        source={"type": "BITBUCKET", "location": "https://bitbucket.org/acme/app.git"},
        environment=place,
        logsConfig={"cloudWatchLogs": {"status": "ENABLED"}},
        **project,
    )
    yield from both(
        "bad",
        "good",
        "codebuild-privileged",
        "codebuild-plain-secrets",
        "codebuild-source-credentials",
        "codebuild-logs-unencrypted",
    )
    backup = client("backup")
    backup.create_backup_vault(BackupVaultName="bad")
    yield said("backup-vault-unlocked", "bad")
    wall = client("network-firewall")
    for name, protected in (("bad", False), ("good", True)):
        wall.create_firewall(
            FirewallName=name,
            FirewallPolicyArn=f"arn:aws:network-firewall:{REGION}:{ACCOUNT}:firewall-policy/p",
            VpcId="vpc-1",
            SubnetMappings=[{"SubnetId": "subnet-1"}] + ([{"SubnetId": "subnet-2"}] if protected else []),
            DeleteProtection=protected,
            SubnetChangeProtection=protected,
        )
    yield from both(
        "bad",
        "good",
        "network-firewall-deletion-protection",
        "network-firewall-subnet-protection",
        "network-firewall-multi-az",
    )
    ssm = client("ssm")
    content = json.dumps({"schemaVersion": "2.2", "description": "d", "mainSteps": []})
    for name in ("mine", "everybodys"):
        ssm.create_document(Content=content, Name=name, DocumentType="Command")
    ssm.modify_document_permission(Name="everybodys", PermissionType="Share", AccountIdsToAdd=["all"])
    yield said("ssm-document-public", "everybodys", "mine")
