package nodeapi

// Network types, upstream's provider:network_type values.
const (
	NetworkFlat  = "flat"
	NetworkVLAN  = "vlan"
	NetworkVXLAN = "vxlan"
	NetworkLocal = "local"
)

// Network is a layer-2 network that has a port, a DHCP service or a router leg on this node.
type Network struct {
	ID              string   `json:"id"`
	Type            string   `json:"type"`
	PhysicalNetwork string   `json:"physical_network,omitempty"`
	SegmentationID  int      `json:"segmentation_id,omitempty"` // VNI or VLAN
	MTU             int      `json:"mtu"`
	AdminUp         bool     `json:"admin_up"`
	DNSDomain       string   `json:"dns_domain,omitempty"`
	Subnets         []Subnet `json:"subnets,omitempty"`
	// DHCPPort is the port of the DHCP service (device_owner network:dhcp) whose addresses the node's
	// DHCP and metadata service takes; nil: no subnet of the network has DHCP on.
	DHCPPort *ServicePort `json:"dhcp_port,omitempty"`
	// Hosts are all ports of the network on any node: what DHCP answers for local ones and what L2
	// population installs for remote ones (VTEP not empty).
	Hosts []NetworkHost `json:"hosts,omitempty"`
	// VTEPs are the tunnel addresses of the other nodes with ports of this network.
	VTEPs []string `json:"vteps,omitempty"`
}

// Subnet is what DHCP and router advertisements need to know.
type Subnet struct {
	ID         string   `json:"id"`
	CIDR       string   `json:"cidr"`
	GatewayIP  string   `json:"gateway_ip,omitempty"`
	EnableDHCP bool     `json:"enable_dhcp"`
	DNS        []string `json:"dns_nameservers,omitempty"`
	HostRoutes []Route  `json:"host_routes,omitempty"`
	// IPv6AddressMode and IPv6RAMode: slaac, dhcpv6-stateful, dhcpv6-stateless or empty.
	IPv6AddressMode string `json:"ipv6_address_mode,omitempty"`
	IPv6RAMode      string `json:"ipv6_ra_mode,omitempty"`
	// RouterIP is the address of a router's interface in the subnet; empty when it has none, and then
	// the DHCP service offers the route to the metadata address through itself, as upstream's
	// enable_isolated_metadata does (neutron/agent/linux/dhcp.py).
	RouterIP string `json:"router_ip,omitempty"`
}

// Route is a static route.
type Route struct {
	Destination string `json:"destination"`
	NextHop     string `json:"nexthop"`
}

// NetworkHost is one port as the others on its network need to know it.
type NetworkHost struct {
	PortID   string       `json:"port_id"`
	MAC      string       `json:"mac"`
	FixedIPs []FixedIP    `json:"fixed_ips"`
	Hostname string       `json:"hostname,omitempty"` // DNS name: host-10-0-0-5 or the port's dns_name
	VTEP     string       `json:"vtep,omitempty"`     // empty: on this node
	GuestID  string       `json:"guest_id,omitempty"` // whose metadata a request from this address gets
	Options  []DHCPOption `json:"options,omitempty"`
}

// FixedIP is an address of a port.
type FixedIP struct {
	SubnetID string `json:"subnet_id"`
	IP       string `json:"ip_address"`
}

// DHCPOption is an extra_dhcp_opts entry.
type DHCPOption struct {
	Name    string `json:"name"` // as dnsmasq names it, or a number
	Value   string `json:"value"`
	Version int    `json:"version"` // 4 or 6
}

// ServicePort is a port of the node's own services: DHCP, a router's leg.
type ServicePort struct {
	PortID    string   `json:"port_id"`
	NetworkID string   `json:"network_id"`
	MAC       string   `json:"mac"`
	Addresses []string `json:"addresses"` // with prefix length: 10.0.0.1/24
}

// Port is a guest's port bound to this node.
type Port struct {
	ID        string    `json:"id"`
	NetworkID string    `json:"network_id"`
	GuestID   string    `json:"guest_id"`
	MAC       string    `json:"mac"`
	FixedIPs  []FixedIP `json:"fixed_ips"`
	AdminUp   bool      `json:"admin_up"`
	// PortSecurity false: no anti-spoofing and no security groups (upstream's port_security_enabled).
	PortSecurity        bool          `json:"port_security"`
	AllowedAddressPairs []AddressPair `json:"allowed_address_pairs,omitempty"`
	SecurityGroups      []string      `json:"security_groups,omitempty"` // ids of items
	QoS                 *QoS          `json:"qos,omitempty"`
}

// QoS is what a port's or its network's policy asks for. Directions are the guest's.
type QoS struct {
	Ingress Limit `json:"ingress"`
	Egress  Limit `json:"egress"`
	// DSCP is what the guest's packets are marked with.
	DSCP *int `json:"dscp_mark,omitempty"`
}

// Limit bounds bits and packets; 0 bounds nothing, and a burst of 0 leaves it to the node.
type Limit struct {
	KBits         int64 `json:"max_kbps,omitempty"`
	BurstKBits    int64 `json:"max_burst_kbps,omitempty"`
	KPackets      int64 `json:"max_kpps,omitempty"`
	BurstKPackets int64 `json:"max_burst_kpps,omitempty"`
}

// AddressPair is an address that a guest may use besides its own.
type AddressPair struct {
	MAC string `json:"mac"`
	IP  string `json:"ip"` // address or CIDR
}

// SecurityGroup is a group that a port here has or that a rule here refers to: another security group, or an address group, which
// has members and no rules.
type SecurityGroup struct {
	ID       string              `json:"id"`
	Stateful bool                `json:"stateful"`
	Rules    []SecurityGroupRule `json:"rules,omitempty"`
	// Members are the addresses of all ports in the group, allowed address pairs included, or an address group's addresses, sorted;
	// filled when some rule on this node names the group as its remote group.
	Members []string `json:"members,omitempty"`
}

// SecurityGroupRule allows traffic; what no rule allows is dropped.
type SecurityGroupRule struct {
	ID        string `json:"id"`
	Direction string `json:"direction"` // ingress (to the guest) or egress
	EtherType string `json:"ethertype"` // IPv4 or IPv6
	// Protocol is a lower-case name (tcp, udp, icmp, ipv6-icmp, sctp, …), a number as text, or empty for any.
	Protocol string `json:"protocol,omitempty"`
	// PortMin and PortMax are ports, or ICMP type and code; nil: any.
	PortMin       *int   `json:"port_range_min,omitempty"`
	PortMax       *int   `json:"port_range_max,omitempty"`
	RemoteCIDR    string `json:"remote_ip_prefix,omitempty"`
	RemoteGroupID string `json:"remote_group_id,omitempty"`
}

// Router is a router that this node owns.
type Router struct {
	ID          string        `json:"id"`
	AdminUp     bool          `json:"admin_up"`
	Interfaces  []ServicePort `json:"interfaces,omitempty"`
	Gateway     *Gateway      `json:"gateway,omitempty"`
	Routes      []Route       `json:"routes,omitempty"`
	FloatingIPs []FloatingIP  `json:"floating_ips,omitempty"`
	// PortForwardings lead ports of floating IPs that no port has as a whole.
	PortForwardings []PortForwarding `json:"port_forwardings,omitempty"`
}

// Gateway is a router's leg on an external network.
type Gateway struct {
	ServicePort
	EnableSNAT bool     `json:"enable_snat"`
	NextHops   []string `json:"next_hops"` // gateway_ip of each subnet of the leg
}

// PortForwarding translates ports of a floating address to ports of a fixed one: each to its counterpart, or all of them to a single one.
type PortForwarding struct {
	ID       string    `json:"id"`
	Floating string    `json:"floating_ip_address"`
	Fixed    string    `json:"fixed_ip_address"`
	Protocol string    `json:"protocol"` // tcp, udp, sctp
	External PortRange `json:"external"`
	Internal PortRange `json:"internal"`
}

// PortRange are the ports from Min to Max.
type PortRange struct {
	Min int `json:"min"`
	Max int `json:"max"`
}

// FloatingIP is carried by the router: both directions are translated.
type FloatingIP struct {
	ID       string `json:"id"`
	Floating string `json:"floating_ip_address"`
	Fixed    string `json:"fixed_ip_address"`
	PortID   string `json:"port_id"`
}
