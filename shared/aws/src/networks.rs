//! Whether a builder in a subnet can reach AWS, as far as EC2's data shows it.

use std::collections::BTreeSet;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::types::{Filter, RouteTable, State, Subnet, VpcEndpoint, VpcEndpointType};

use super::call_error;
use frontload_domain::Result;
use frontload_domain::cache::SubnetId;

/// The services that a builder calls. A VPC without another way out needs an endpoint for each.
/// ECR's layers come from S3 (ECR user guide, "Amazon ECR interface VPC endpoints"; Systems Manager
/// user guide, "VPC endpoints").
const SERVICES: [&str; 6] = ["ec2", "ecr.api", "ecr.dkr", "s3", "ssm", "ssmmessages"];

/// The destination of the default route.
const EVERYWHERE: &str = "0.0.0.0/0";

/// How traffic leaves a subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The subnet.
    pub subnet: String,
    /// Whether an instance gets a public address if its launch does not set this.
    pub public_by_default: bool,
    /// Where the default route leads.
    pub way: Way,
    /// The services of [`SERVICES`] without an endpoint in its VPC that serves the subnet.
    pub missing_endpoints: Vec<&'static str>,
}

/// Where a subnet's default route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// An internet gateway, which serves public addresses only.
    InternetGateway,
    /// A NAT gateway, another network's gateway or the like.
    Other,
    /// There is no default route.
    None,
}

impl Network {
    /// Why a builder cannot reach AWS, and how to fix it; `None` if it may work. `public_ip`
    /// overrides the subnet's default.
    #[must_use]
    pub fn problem(&self, public_ip: Option<bool>) -> Option<String> {
        let public = public_ip.unwrap_or(self.public_by_default);
        let missing = self.missing_endpoints.join(", ");
        match self.way {
            _ if self.missing_endpoints.is_empty() => None,
            Way::Other => None,
            Way::InternetGateway if public => None,
            Way::InternetGateway => Some(format!(
                "{} leads to an internet gateway, which serves public addresses only, and the \
                 builder gets none; set builder.publicIp to true, or add a NAT gateway or VPC \
                 endpoints for {missing}",
                self.subnet
            )),
            Way::None => Some(format!(
                "{} has no route that leaves its VPC; add a NAT gateway, or VPC endpoints for \
                 {missing}",
                self.subnet
            )),
        }
    }
}

/// The networks of `subnets`, or of the default VPC's subnets if `subnets` is empty. The inner
/// `Err` is a message that a subnet or the default VPC does not exist.
///
/// # Errors
/// Those of [`call_error`].
pub async fn find_networks(
    ec2: &Client,
    subnets: &[SubnetId],
) -> Result<std::result::Result<Vec<Network>, String>> {
    let subnets = match find_subnets(ec2, subnets).await? {
        Ok(subnets) => subnets,
        Err(reason) => return Ok(Err(reason)),
    };
    let vpcs: BTreeSet<String> =
        subnets.iter().filter_map(|subnet| subnet.vpc_id()).map(ToOwned::to_owned).collect();
    let of_vpcs = Filter::builder().name("vpc-id").set_values(Some(vpcs.into_iter().collect()));
    let of_vpcs = of_vpcs.build();
    let tables = find_tables(ec2, &subnets, of_vpcs.clone()).await?;
    let endpoints = find_endpoints(ec2, of_vpcs).await?;
    let network = |subnet: &Subnet| Network {
        subnet: subnet.subnet_id().unwrap_or_default().to_owned(),
        public_by_default: subnet.map_public_ip_on_launch().unwrap_or_default(),
        way: table_of(subnet, &tables).map_or(Way::None, way),
        missing_endpoints: missing_endpoints(subnet, &tables, &endpoints),
    };
    Ok(Ok(subnets.iter().map(network).collect()))
}

async fn find_subnets(
    ec2: &Client,
    named: &[SubnetId],
) -> Result<std::result::Result<Vec<Subnet>, String>> {
    let region = ec2.config().region();
    let call = ec2.describe_subnets();
    let answer = if named.is_empty() {
        let default = Filter::builder().name("default-for-az").values("true").build();
        call.filters(default).send().await
    } else {
        call.set_subnet_ids(Some(named.iter().map(ToString::to_string).collect())).send().await
    };
    match answer {
        Ok(output) if output.subnets().is_empty() => {
            Ok(Err("no default VPC exists; set builder.subnetIds".to_owned()))
        }
        Ok(output) => Ok(Ok(output.subnets().to_vec())),
        Err(error) if error.code() == Some("InvalidSubnetID.NotFound") => {
            Ok(Err(error.message().unwrap_or("one of them does not exist").to_owned()))
        }
        Err(error) => Err(call_error("ec2:DescribeSubnets", "builders' subnets", region, &error)),
    }
}

/// The route tables of the subnets and the main ones of their VPCs. A cache has a handful of
/// subnets, so one page contains all tables.
async fn find_tables(ec2: &Client, subnets: &[Subnet], of_vpcs: Filter) -> Result<Vec<RouteTable>> {
    let ids = subnets.iter().filter_map(|subnet| subnet.subnet_id()).map(ToOwned::to_owned);
    let own = Filter::builder().name("association.subnet-id").set_values(Some(ids.collect()));
    let main = Filter::builder().name("association.main").values("true").build();
    let mut tables = Vec::new();
    for filters in [vec![own.build()], vec![of_vpcs, main]] {
        let answer = ec2.describe_route_tables().set_filters(Some(filters)).send().await;
        let answer = answer.map_err(|error| {
            let region = ec2.config().region();
            call_error("ec2:DescribeRouteTables", "builders' subnets", region, &error)
        })?;
        tables.extend(answer.route_tables().to_vec());
    }
    Ok(tables)
}

/// The VPCs' endpoints: EC2 lists up to 1,000 at once, and a VPC has at most 255 (Amazon VPC user
/// guide, "Quotas").
async fn find_endpoints(ec2: &Client, of_vpcs: Filter) -> Result<Vec<VpcEndpoint>> {
    let answer = ec2.describe_vpc_endpoints().filters(of_vpcs).send().await.map_err(|error| {
        let region = ec2.config().region();
        call_error("ec2:DescribeVpcEndpoints", "builders' subnets", region, &error)
    })?;
    Ok(answer.vpc_endpoints().to_vec())
}

/// The subnet's own route table, or its VPC's main one.
fn table_of<'a>(subnet: &Subnet, tables: &'a [RouteTable]) -> Option<&'a RouteTable> {
    let is_own = |table: &&RouteTable| {
        table.associations().iter().any(|one| one.subnet_id() == subnet.subnet_id())
    };
    let is_main = |table: &&RouteTable| {
        table.vpc_id() == subnet.vpc_id()
            && table.associations().iter().any(|one| one.main() == Some(true))
    };
    tables.iter().find(is_own).or_else(|| tables.iter().find(is_main))
}

fn way(table: &RouteTable) -> Way {
    let mut routes = table.routes().iter();
    match routes.find(|route| route.destination_cidr_block() == Some(EVERYWHERE)) {
        None => Way::None,
        Some(route) if route.gateway_id().is_some_and(|id| id.starts_with("igw-")) => {
            Way::InternetGateway
        }
        Some(_) => Way::Other,
    }
}

fn missing_endpoints(
    subnet: &Subnet,
    tables: &[RouteTable],
    endpoints: &[VpcEndpoint],
) -> Vec<&'static str> {
    let table = table_of(subnet, tables).and_then(|table| table.route_table_id());
    let serves = |endpoint: &&VpcEndpoint| {
        let usable = endpoint.vpc_id() == subnet.vpc_id()
            && endpoint.state().is_some_and(|state| *state == State::Available);
        usable
            && match endpoint.vpc_endpoint_type() {
                Some(VpcEndpointType::Gateway) => {
                    endpoint.route_table_ids().iter().any(|id| Some(id.as_str()) == table)
                }
                _ => endpoint.private_dns_enabled() == Some(true),
            }
    };
    let found: Vec<&str> =
        endpoints.iter().filter(serves).filter_map(|endpoint| endpoint.service_name()).collect();
    let is_there = |service: &str| found.iter().any(|name| name.ends_with(&format!(".{service}")));
    SERVICES.into_iter().filter(|service| !is_there(service)).collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{Route, RouteTableAssociation};

    use super::*;

    fn network(way: Way, public_by_default: bool, missing_endpoints: Vec<&'static str>) -> Network {
        Network { subnet: "subnet-1".to_owned(), public_by_default, way, missing_endpoints }
    }

    #[test]
    fn a_network_without_a_route_is_reported_with_a_remedy() {
        let all = SERVICES.to_vec();
        let says = |network: &Network, public_ip| network.problem(public_ip).unwrap_or_default();
        let default = network(Way::InternetGateway, true, all.clone());
        assert_eq!(says(&default, None), "");
        assert!(says(&default, Some(false)).contains("set builder.publicIp to true"));
        let private = network(Way::InternetGateway, false, all.clone());
        assert!(says(&private, None).contains("set builder.publicIp to true"));
        assert_eq!(says(&private, Some(true)), "");
        assert_eq!(says(&network(Way::Other, false, all.clone()), None), "");
        let closed = says(&network(Way::None, false, vec!["s3"]), Some(true));
        assert!(closed.ends_with("VPC endpoints for s3"), "{closed}");
        assert_eq!(says(&network(Way::None, false, vec![]), None), "");
    }

    fn subnet() -> Subnet {
        Subnet::builder().subnet_id("subnet-1").vpc_id("vpc-1").build()
    }

    fn table(id: &str, gateway: &str, of: RouteTableAssociation) -> RouteTable {
        let route = Route::builder().destination_cidr_block(EVERYWHERE).gateway_id(gateway).build();
        let table = RouteTable::builder().route_table_id(id).vpc_id("vpc-1");
        table.routes(route).associations(of).build()
    }

    #[test]
    fn a_subnets_own_route_table_comes_before_the_main_one() {
        let main = RouteTableAssociation::builder().main(true).build();
        let own = RouteTableAssociation::builder().subnet_id("subnet-1").build();
        let mut tables = vec![table("rtb-main", "igw-1", main)];
        assert_eq!(table_of(&subnet(), &tables).map(way), Some(Way::InternetGateway));
        tables.push(table("rtb-own", "nat-1", own));
        assert_eq!(table_of(&subnet(), &tables).map(way), Some(Way::Other));
    }

    #[test]
    fn an_endpoint_counts_where_it_serves_the_subnet() {
        let main = RouteTableAssociation::builder().main(true).build();
        let tables = [table("rtb-main", "local", main)];
        let endpoint = |service: &str| {
            VpcEndpoint::builder()
                .vpc_id("vpc-1")
                .state(State::Available)
                .service_name(format!("com.amazonaws.us-east-1.{service}"))
        };
        let gateway = endpoint("s3").vpc_endpoint_type(VpcEndpointType::Gateway);
        let endpoints = [
            endpoint("ssm").private_dns_enabled(true).build(),
            endpoint("ec2").private_dns_enabled(false).build(),
            gateway.clone().route_table_ids("rtb-other").build(),
        ];
        let missing = ["ec2", "ecr.api", "ecr.dkr", "s3", "ssmmessages"];
        assert_eq!(missing_endpoints(&subnet(), &tables, &endpoints), missing);
        let serving = [gateway.route_table_ids("rtb-main").build()];
        assert!(!missing_endpoints(&subnet(), &tables, &serving).contains(&"s3"));
    }
}
