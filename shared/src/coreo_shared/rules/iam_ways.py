"""How permissions become more permissions: actions that, together, give their holder what none of them gives alone.

Sources: Rhino Security Labs, "AWS IAM privilege escalation methods"; Bishop Fox, "Privilege escalation in AWS";
Datadog, pathfinding.cloud; for the ARNs the service authorization reference.
"""

from collections.abc import Mapping
from typing import Final

PASS_ROLE: Final = "iam:PassRole"

# Of what exists already: the power is there where any of them may be touched. (service and resource of the ARN)
# What comes after > is another resource that the action needs.
ON_ANY: Final[Mapping[str, tuple[str, str]]] = {
    "iam:CreatePolicyVersion": ("iam", "policy/*"),
    "iam:SetDefaultPolicyVersion": ("iam", "policy/*"),
    "iam:CreateAccessKey": ("iam", "user/*"),
    "iam:CreateLoginProfile": ("iam", "user/*"),
    "iam:UpdateLoginProfile": ("iam", "user/*"),
    "iam:AttachUserPolicy": ("iam", "user/*"),
    "iam:AttachGroupPolicy": ("iam", "group/*"),
    "iam:AttachRolePolicy": ("iam", "role/*"),
    "iam:PutUserPolicy": ("iam", "user/*"),
    "iam:PutGroupPolicy": ("iam", "group/*"),
    "iam:PutRolePolicy": ("iam", "role/*"),
    "iam:AddUserToGroup": ("iam", "group/*"),
    "iam:UpdateAssumeRolePolicy": ("iam", "role/*"),
    "ec2:AssociateIamInstanceProfile": ("ec2", "instance/*"),
    "ec2:ModifyInstanceAttribute": ("ec2", "instance/*"),
    "ec2:StopInstances": ("ec2", "instance/*"),
    "ec2:StartInstances": ("ec2", "instance/*"),
    "ec2-instance-connect:SendSSHPublicKey": ("ec2", "instance/*"),
    "ssm:SendCommand": ("ec2", "instance/*"),
    "ssm:SendCommand>script": ("ssm", "document/AWS-RunShellScript"),
    "ssm:StartSession": ("ec2", "instance/*"),
    "ecs:ExecuteCommand": ("ecs", "task/*"),
    "lambda:UpdateFunctionCode": ("lambda", "function:*"),
    "lambda:UpdateFunctionConfiguration": ("lambda", "function:*"),
    "glue:UpdateDevEndpoint": ("glue", "devEndpoint/*"),
    "glue:UpdateJob": ("glue", "job/*"),
    "cloudformation:UpdateStack": ("cloudformation", "stack/*"),
    "cloudformation:CreateChangeSet": ("cloudformation", "stack/*"),
    "cloudformation:ExecuteChangeSet": ("cloudformation", "stack/*"),
    "codebuild:UpdateProject": ("codebuild", "project/*"),
    "sagemaker:CreatePresignedNotebookInstanceUrl": ("sagemaker", "notebook-instance/*"),
    "apprunner:UpdateService": ("apprunner", "service/*"),
}
# One's own user is enough: who may give himself a policy may give himself all.
ON_SELF: Final = frozenset({"iam:AttachUserPolicy", "iam:PutUserPolicy"})

# What IAM itself gives, each alone.
BY_IAM: Final = tuple((action,) for action in ON_ANY if action.startswith("iam:"))
# What a service does for its caller with a role that he passes to it: the service, and the actions it takes.
BY_PASSING: Final = (
    ("ec2.amazonaws.com", "ec2:RunInstances"),
    ("ec2.amazonaws.com", "ec2:RequestSpotInstances"),
    ("ec2.amazonaws.com", "ec2:AssociateIamInstanceProfile"),
    ("ec2.amazonaws.com", "autoscaling:CreateLaunchConfiguration", "autoscaling:CreateAutoScalingGroup"),
    ("ec2.amazonaws.com", "elasticmapreduce:RunJobFlow"),
    ("lambda.amazonaws.com", "lambda:CreateFunction", "lambda:InvokeFunction"),
    ("lambda.amazonaws.com", "lambda:CreateFunction", "lambda:AddPermission"),
    ("lambda.amazonaws.com", "lambda:CreateFunction", "lambda:CreateEventSourceMapping"),
    ("lambda.amazonaws.com", "lambda:CreateFunction", "lambda:CreateFunctionUrlConfig"),
    ("ecs-tasks.amazonaws.com", "ecs:RegisterTaskDefinition", "ecs:RunTask"),
    ("ecs-tasks.amazonaws.com", "ecs:RegisterTaskDefinition", "ecs:StartTask"),
    ("ecs-tasks.amazonaws.com", "ecs:RegisterTaskDefinition", "ecs:CreateService"),
    ("ecs-tasks.amazonaws.com", "batch:RegisterJobDefinition", "batch:SubmitJob"),
    ("tasks.apprunner.amazonaws.com", "apprunner:CreateService"),
    ("cloudformation.amazonaws.com", "cloudformation:CreateStack"),
    ("cloudformation.amazonaws.com", "cloudformation:CreateStackSet", "cloudformation:CreateStackInstances"),
    ("glue.amazonaws.com", "glue:CreateDevEndpoint"),
    ("glue.amazonaws.com", "glue:CreateSession", "glue:RunStatement"),
    ("glue.amazonaws.com", "glue:CreateJob", "glue:StartJobRun"),
    ("glue.amazonaws.com", "glue:CreateJob", "glue:CreateTrigger"),
    ("glue.amazonaws.com", "glue:UpdateJob", "glue:StartJobRun"),
    ("glue.amazonaws.com", "glue:UpdateJob", "glue:CreateTrigger"),
    ("sagemaker.amazonaws.com", "sagemaker:CreateNotebookInstance"),
    ("sagemaker.amazonaws.com", "sagemaker:CreateTrainingJob"),
    ("sagemaker.amazonaws.com", "sagemaker:CreateProcessingJob"),
    ("codebuild.amazonaws.com", "codebuild:CreateProject", "codebuild:StartBuild"),
    ("codebuild.amazonaws.com", "codebuild:CreateProject", "codebuild:StartBuildBatch"),
    ("states.amazonaws.com", "states:CreateStateMachine", "states:StartExecution"),
    ("scheduler.amazonaws.com", "scheduler:CreateSchedule"),
    ("ssm.amazonaws.com", "ssm:StartAutomationExecution"),
    (
        "datapipeline.amazonaws.com",
        "datapipeline:CreatePipeline",
        "datapipeline:PutPipelineDefinition",
        "datapipeline:ActivatePipeline",
    ),
    ("cognito-identity.amazonaws.com", "cognito-identity:SetIdentityPoolRoles"),
    ("emr-serverless.amazonaws.com", "emr-serverless:CreateApplication", "emr-serverless:StartJobRun"),
    (
        "bedrock-agentcore.amazonaws.com",
        "bedrock-agentcore:CreateCodeInterpreter",
        "bedrock-agentcore:StartCodeInterpreterSession",
        "bedrock-agentcore:InvokeCodeInterpreter",
    ),
)
# What runs already with a role, and can be made to run something else.
BY_WORKLOADS: Final = (
    ("ssm:SendCommand", "ssm:SendCommand>script"),
    ("ssm:StartSession",),
    ("ec2-instance-connect:SendSSHPublicKey",),
    ("ec2:ModifyInstanceAttribute", "ec2:StopInstances", "ec2:StartInstances"),
    ("ecs:ExecuteCommand",),
    ("lambda:UpdateFunctionCode",),
    ("lambda:UpdateFunctionConfiguration",),
    ("glue:UpdateDevEndpoint",),
    ("glue:UpdateJob", "glue:StartJobRun"),
    ("cloudformation:UpdateStack",),
    ("cloudformation:CreateChangeSet", "cloudformation:ExecuteChangeSet"),
    ("codebuild:UpdateProject", "codebuild:StartBuild"),
    ("sagemaker:CreatePresignedNotebookInstanceUrl",),
    ("apprunner:UpdateService",),
)
