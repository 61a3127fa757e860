# A launch template of Bottlerocket nodes that start with the images of the cache `default`. Terraform
# and OpenTofu read the parameter when they plan, so each apply takes the published snapshot.

data "aws_ssm_parameter" "bottlerocket" {
  name = "/aws/service/bottlerocket/aws-k8s-1.35/x86_64/latest/image_id"
}

data "aws_ssm_parameter" "snapshot" {
  name = "/frontload/default/x86_64/snapshot-id"
}

resource "aws_launch_template" "nodes" {
  name_prefix = "frontload-"
  image_id    = data.aws_ssm_parameter.bottlerocket.insecure_value

  block_device_mappings {
    device_name = "/dev/xvdb"

    ebs {
      snapshot_id = data.aws_ssm_parameter.snapshot.insecure_value
      # At least `volumeGib` of the manifest.
      volume_size           = 100
      volume_type           = "gp3"
      delete_on_termination = true
      # MiB/s, 100 to 300. Remove it if the cache has fsrZones. An old provider does not know it.
      volume_initialization_rate = 300
    }
  }
}
