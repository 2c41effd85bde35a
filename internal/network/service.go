// Package network is the network service: Neutron's API, the rules and tables behind it, and the items that tell a node
// what to wire. It must not know what a server is (compute names it by device_id) nor how a node wires a port.
//
// The kinds of objects differ in their attribute maps and rules only: resource.go has the handlers of all, networks.go and its
// neighbours what is special to each.
package network

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodehub"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// Options for New.
type Options struct {
	DB *db.DB
	// Policy is nil for the defaults of the release.
	Policy *policy.Enforcer
	Logger *slog.Logger
	// PhysicalNetworks may carry flat networks, each with its MTU; nil: "public" with 1500.
	PhysicalNetworks map[string]int
	// OverlayMTU is the MTU of what carries self-service networks (global_physnet_mtu); 0: 1500.
	OverlayMTU int
	// Quotas overrides default quotas by resource (network, port, …).
	Quotas map[string]int64
	// DNSDomain ends the names of ports in DHCP and DNS (dns_domain); empty: openstacklocal.
	DNSDomain string
	// DocsBytes bounds the cache of encoded documents; 0: 32 MiB.
	DocsBytes int
}

// Service is the network service.
type Service struct {
	o      Options
	policy *policy.Enforcer
	reads  atomic.Pointer[readRules]
	docs   *api.Docs
	res    resources

	serverChanged func(tx *db.Tx, serverID string) error
}

// resources are the kinds of objects.
type resources struct {
	networks, subnets, ports, securityGroups, securityGroupRules, routers, floatingIPs, subnetPools, addressScopes, rbac, addressGroups,
	defaultRules, portForwardings, qosPolicies *resource
	qosRules, qosAliases []*resource
}

var (
	_ nodehub.Source    = (*Service)(nil)
	_ nodehub.Sink      = (*Service)(nil)
	_ nodehub.Registrar = (*Service)(nil)
)

// New makes the service.
func New(o Options) (*Service, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.PhysicalNetworks == nil {
		o.PhysicalNetworks = map[string]int{"public": 1500}
	}
	if o.OverlayMTU == 0 {
		o.OverlayMTU = 1500
	}
	if o.DNSDomain == "" {
		o.DNSDomain = "openstacklocal"
	}
	if o.DocsBytes == 0 {
		o.DocsBytes = 32 << 20
	}
	s := &Service{o: o, policy: o.Policy, docs: api.NewDocs(o.DocsBytes)}
	if s.policy == nil {
		var err error
		if s.policy, err = policy.New(policy.Neutron()); err != nil {
			return nil, fmt.Errorf("network policy: %w", err)
		}
	}
	s.res = resources{networks: s.networks(), subnets: s.subnets(), ports: s.ports(), securityGroups: s.securityGroups(), securityGroupRules: s.securityGroupRules(),
		routers: s.routers(), floatingIPs: s.floatingIPs(), subnetPools: s.subnetPools(), addressScopes: s.addressScopes(), rbac: s.rbacPolicies(),
		addressGroups: s.addressGroups(), defaultRules: s.defaultRules(), qosPolicies: s.qosPolicies()}
	for _, k := range qosKinds {
		r := s.qosRules(k, s.res.qosPolicies)
		s.res.qosRules = append(s.res.qosRules, r)
		if s.policy.Has("get_alias_" + k.name + "_rule") { // upstream has none for limits of packets
			s.res.qosAliases = append(s.res.qosAliases, qosAlias(k, r))
		}
	}
	s.res.portForwardings = s.portForwardings(s.res.floatingIPs)
	for _, r := range append(s.res.all(), s.res.qosAliases...) {
		r.byName = map[string]*attr{}
		for i := range r.attrs {
			a := &r.attrs[i]
			if r.byName[a.name] != nil {
				return nil, fmt.Errorf("attribute %s of %s is there twice", a.name, r.name)
			}
			r.byName[a.name] = a
		}
	}
	return s, nil
}

func (r *resources) all() []*resource {
	return append([]*resource{r.networks, r.subnets, r.ports, r.securityGroups, r.securityGroupRules, r.routers, r.floatingIPs, r.subnetPools, r.addressScopes, r.rbac, r.addressGroups,
		r.defaultRules, r.portForwardings, r.qosPolicies}, r.qosRules...)
}

// API is the HTTP face.
func (s *Service) API() *api.Service {
	routes := slices.Concat(versionRoutes(), extensionRoutes())
	for _, r := range s.res.all() {
		routes = append(routes, s.resourceRoutes(r)...)
		if s.policy.Has("get_" + r.name + ":tags") {
			routes = append(routes, s.tagRoutes(r)...)
		}
	}
	routes = slices.Concat(routes, s.routerActions(), s.addressGroupActions(), s.autoTopologyRoutes(), s.qosTypeRoutes(), s.qosAliasRoutes(), s.quotaRoutes(), s.agentRoutes(), s.availabilityRoutes())
	return &api.Service{
		Name: "network", Prefix: "/network", Routes: routes, Dialect: dialect(), Policy: s.policy, Docs: s.docs,
		Rewrite: func(r *http.Request, path string) string {
			// What PostgreSQL does not take as text matches nothing.
			q := r.URL.Query()
			if cleanQuery(q) {
				r.URL.RawQuery = q.Encode()
			}
			return strings.TrimSuffix(cleanText(path), ".json") // upstream accepts the format as a suffix
		},
	}
}

// cleanText replaces what is no text to PostgreSQL: NUL and broken UTF-8.
func cleanText(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}

func cleanQuery(q map[string][]string) bool {
	changed := false
	for _, vs := range q {
		for i, v := range vs {
			if c := cleanText(v); c != v {
				vs[i], changed = c, true
			}
		}
	}
	return changed
}
