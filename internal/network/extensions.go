package network

import (
	"context"
	"net/http"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// extension is a part of the API that works here; clients and Tempest look at the alias only.
type extension struct {
	Name        string   `json:"name"`
	Alias       string   `json:"alias"`
	Description string   `json:"description"`
	Updated     string   `json:"updated"`
	Links       []string `json:"links"`
}

// extensionList is what works, with upstream's names and dates.
var extensionList = []extension{
	ext("address-group", "Address group", "Sets of addresses that rules of security groups name.", "2020-07-15T10:00:00-00:00"),
	ext("address-scope", "Address scope", "Scopes of addresses that do not overlap.", "2015-07-26T10:00:00-00:00"),
	ext("agent", "agent", "The parts of nodes that wire networks.", "2013-02-03T10:00:00-00:00"),
	ext("allowed-address-pairs", "Allowed Address Pairs", "Addresses that a port may use besides its own.", "2013-07-23T10:00:00-00:00"),
	ext("auto-allocated-topology", "Auto Allocated Topology Services", "A network with a way out for a project that has none.", "2016-01-01T00:00:00-00:00"),
	ext("availability_zone", "Availability Zone", "Availability zones of networks and routers.", "2015-01-01T10:00:00-00:00"),
	ext("availability_zone_filter", "Availability Zone Filter Extension", "Filters on availability zones.", "2018-06-22T10:00:00-00:00"),
	ext("binding", "Port Binding", "Where a port is wired.", "2014-02-03T10:00:00-00:00"),
	ext("default-subnetpools", "Default Subnetpools", "A default subnet pool for each address family.", "2016-02-18T18:00:00-00:00"),
	ext("dhcp_agent_scheduler", "DHCP Agent Scheduler", "Which nodes serve DHCP for a network.", "2013-02-07T10:00:00-00:00"),
	ext("empty-string-filtering", "Empty String Filtering Extension", "Filters on empty values.", "2018-05-01T10:00:00-00:00"),
	ext("expose-port-forwarding-in-fip", "Expose Floating IP port forwardings", "The forwarded ports of a floating IP.", "2018-06-28T16:00:00-00:00"),
	ext("ext-gw-mode", "Neutron L3 Configurable external gateway mode", "Routers with and without source NAT.", "2013-03-28T10:00:00-00:00"),
	ext("external-net", "Neutron external network", "Networks that lead outside.", "2013-01-14T10:00:00-00:00"),
	ext("extra_dhcp_opt", "Neutron Extra DHCP options", "DHCP options of a port.", "2013-03-17T12:00:00-00:00"),
	ext("extraroute", "Neutron Extra Route", "Static routes of a router.", "2013-02-01T10:00:00-00:00"),
	ext("extraroute-atomic", "Atomically add/remove extra routes", "Single static routes added and removed.", "2019-07-10T00:00:00+00:00"),
	ext("filter-validation", "Filter parameters validation", "Unknown filters are refused.", "2018-07-04T10:00:00-00:00"),
	ext("fip-port-details", "Floating IP Port Details Extension", "The port behind a floating IP.", "2018-04-09T10:00:00-00:00"),
	ext("floating-ip-port-forwarding", "Floating IP Port Forwarding", "Single ports of a floating IP that lead to ports behind a router.", "2018-01-19T10:00:00-00:00"),
	ext("floating-ip-port-forwarding-description", "Floating IP Port Forwarding new attribute description", "A description of a forwarded port.", "2019-11-01T10:00:00-00:00"),
	ext("floating-ip-port-forwarding-detail", "Floating IP port forwarding detail", "The ids of a floating IP's forwarded ports.", "2022-05-06T10:00:00-00:00"),
	ext("floating-ip-port-forwarding-port-ranges", "Floating IP Port Forwarding support port ranges", "Ranges of forwarded ports.", "2020-07-01T10:00:00-00:00"),
	ext("ip-substring-filtering", "IP address substring filtering", "Ports by a part of their address.", "2017-11-28T09:00:00-00:00"),
	ext("ip_allocation", "IP Allocation", "How a port got its addresses.", "2016-06-10T23:00:00-00:00"),
	ext("l3-port-ip-change-not-allowed", "Prevent L3 router ports IP address change extension", "Router ports keep their IPv4 addresses.", "2018-10-09T10:00:00-00:00"),
	ext("l3_agent_scheduler", "L3 Agent Scheduler", "Which node runs a router.", "2013-02-07T10:00:00-00:00"),
	ext("net-mtu", "Network MTU", "The MTU of a network.", "2015-03-25T10:00:00-00:00"),
	ext("net-mtu-writable", "Network MTU (writable)", "The MTU of a network can be set.", "2017-07-12T00:00:00-00:00"),
	ext("network-ip-availability", "Network IP Availability", "How many addresses are in use.", "2015-09-24T00:00:00-00:00"),
	ext("network_availability_zone", "Network Availability Zone", "Availability zones of networks.", "2015-01-01T10:00:00-00:00"),
	ext("pagination", "Pagination support", "Lists by pages.", "2016-06-12T00:00:00-00:00"),
	ext("port-mac-address-regenerate", "Neutron Port MAC address regenerate", "A new MAC for a port.", "2018-05-03T10:00:00-00:00"),
	ext("port-security", "Port Security", "Anti-spoofing per port and network.", "2012-07-23T10:00:00-00:00"),
	ext("project-id", "project_id field enabled", "project_id beside tenant_id.", "2016-09-09T09:09:09-09:09"),
	ext("provider", "Provider Network", "Type and segment of a network.", "2012-09-07T10:00:00-00:00"),
	ext("qos", "Quality of Service", "Limits and marks for the traffic of ports and networks.", "2015-06-08T10:00:00-00:00"),
	ext("qos-bw-limit-direction", "Direction for QoS bandwidth limit rule", "Limits of either direction.", "2017-04-10T10:00:00-00:00"),
	ext("qos-default", "QoS default policy", "The policy of a project's new networks.", "2017-041-06T10:00:00-00:00"),
	ext("qos-pps", "QoS Rule Type Packet per Second Extension", "Limits of packets.", "2021-05-12T10:00:00-00:00"),
	ext("qos-rule-type-details", "Details of QoS rule types", "What the types of rules take.", "2017-06-22T10:00:00-00:00"),
	ext("qos-rules-alias", "Quality of Service rules alias API", "Rules of policies by their own ids.", "2018-10-07T10:00:00-00:00"),
	ext("quota-check-limit", "Quota engine limit check", "Limits compared with usage when set.", "2021-12-30T10:00:00-00:00"),
	ext("quota_details", "Quota details management support", "Quotas with usage.", "2017-02-10T10:00:00-00:00"),
	ext("quotas", "Quota management support", "Quotas by project.", "2012-07-29T10:00:00-00:00"),
	ext("rbac-address-group", "Add address_group type to RBAC", "Sharing of address groups.", "2021-01-20T00:00:00-00:00"),
	ext("rbac-address-scope", "Add address_scope type to RBAC", "Sharing of address scopes.", "2020-02-15T00:00:00-00:00"),
	ext("rbac-policies", "RBAC Policies", "Sharing between projects.", "2015-06-17T12:15:12-00:00"),
	ext("rbac-security-groups", "Add security_group type to network RBAC", "Sharing of security groups.", "2020-02-15T00:00:00-00:00"),
	ext("rbac-subnetpool", "Add subnetpool type to RBAC", "Sharing of subnet pools.", "2020-02-15T00:00:00-00:00"),
	ext("revision-if-match", "If-Match constraints based on revision_number", "Changes of a known revision only.", "2016-12-11T00:00:00-00:00"),
	ext("router", "Neutron L3 Router", "Routers and floating IPs.", "2012-07-20T10:00:00-00:00"),
	ext("router_availability_zone", "Router Availability Zone", "Availability zones of routers.", "2015-01-01T10:00:00-00:00"),
	ext("security-group", "security-group", "Security groups.", "2012-10-05T10:00:00-00:00"),
	ext("security-groups-default-rules", "Default rules for security groups", "Templates of the rules that new security groups have.", "2022-12-19T10:00:00-00:00"),
	ext("security-groups-normalized-cidr", "Normalized CIDR field for security group rules", "The prefix of a rule without host bits.", "2018-11-12T10:00:00-00:00"),
	ext("security-groups-remote-address-group", "Remote address group id field for security group rules", "Rules that name an address group.", "2020-08-25T10:00:00-00:00"),
	ext("security-groups-shared-filtering", "Security group filtering on the shared field", "Security groups by sharing.", "2020-07-23T00:00:00-00:00"),
	ext("service-type", "Neutron Service Type Management", "Providers of network services.", "2013-01-20T00:00:00-00:00"),
	ext("sort-key-validation", "Sort keys validation", "Unknown sort keys are refused.", "2018-07-04T10:00:00-00:00"),
	ext("sorting", "Sorting support", "Lists in order.", "2016-06-12T00:00:00-00:00"),
	ext("standard-attr-description", "standard-attr-description", "A description for every resource.", "2016-02-10T10:00:00-00:00"),
	ext("standard-attr-revisions", "Resource revision numbers", "A revision number for every resource.", "2016-04-11T10:00:00-00:00"),
	ext("standard-attr-tag", "Tag support for resources with standard attribute", "Tags.", "2017-01-01T00:00:00-00:00"),
	ext("standard-attr-timestamp", "Resource timestamps", "Times of creation and change.", "2016-09-12T10:00:00-00:00"),
	ext("stateful-security-group", "Stateful security group", "Security groups with and without connection tracking.", "2019-11-26T09:00:00-00:00"),
	ext("subnet-service-types", "Subnet service types", "Subnets for some kinds of ports.", "2016-03-15T18:00:00-00:00"),
	ext("subnet_allocation", "Subnet Allocation", "Subnets out of subnet pools.", "2015-03-30T10:00:00-00:00"),
	ext("tag-ports-during-bulk-creation", "Tag Ports During Bulk Creation", "Tags of new ports.", "2019-12-29T19:00:00-00:00"),
}

func ext(alias, name, description, updated string) extension {
	return extension{name, alias, description, updated, []string{}}
}

func extensionRoutes() []api.Route {
	return []api.Route{
		api.Handle("GET", "/v2.0/extensions", api.Authenticated(), http.StatusOK, func(context.Context, *api.Request, api.None) (map[string][]extension, error) {
			return map[string][]extension{"extensions": extensionList}, nil
		}),
		api.Handle("GET", "/v2.0/extensions/{alias}", api.Authenticated(), http.StatusOK, func(_ context.Context, q *api.Request, _ api.None) (map[string]extension, error) {
			for _, e := range extensionList {
				if e.Alias == q.Path("alias") {
					return map[string]extension{"extension": e}, nil
				}
			}
			return nil, fault.New(http.StatusNotFound, "ExtensionNotFound", "Extension with alias %s does not exist", q.Path("alias"))
		}),
	}
}
