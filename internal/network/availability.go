package network

import (
	"context"
	"errors"
	"math/big"
	"net/http"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodehub"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// availabilityRoutes are availability zones, service providers and the count of addresses.
func (s *Service) availabilityRoutes() []api.Route {
	return []api.Route{
		api.Handle("GET", "/v2.0/availability_zones", api.Object("get_availability_zone"), http.StatusOK, s.listZones),
		api.Handle("GET", "/v2.0/service-providers", api.Authenticated(), http.StatusOK, func(context.Context, *api.Request, api.None) (map[string]any, error) {
			return map[string]any{"service_providers": []doc{{"service_type": "L3_ROUTER_NAT", "name": "single_node", "default": true}}}, nil
		}),
		api.Handle("GET", "/v2.0/network-ip-availabilities", api.Object("get_network_ip_availability"), http.StatusOK, func(ctx context.Context, q *api.Request, _ api.None) (map[string]any, error) {
			l, err := s.ipAvailability(ctx, q, "")
			return map[string]any{"network_ip_availabilities": l}, err
		}),
		api.Handle("GET", "/v2.0/network-ip-availabilities/{id}", api.Object("get_network_ip_availability"), http.StatusOK, func(ctx context.Context, q *api.Request, _ api.None) (map[string]any, error) {
			l, err := s.ipAvailability(ctx, q, q.Path("id"))
			if err == nil && len(l) == 0 {
				err = networkNotFound(q.Path("id"))
			}
			if err != nil {
				return nil, err
			}
			return map[string]any{"network_ip_availability": l[0]}, nil
		}),
	}
}

// listZones is the one zone that agents are in, available while a node is up.
func (s *Service) listZones(ctx context.Context, q *api.Request, _ api.None) (map[string]any, error) {
	out := []doc{}
	if !q.Can("get_availability_zone", q.Self()) { // a list leaves out what the rule refuses
		return map[string]any{"availability_zones": out}, nil
	}
	err := s.o.DB.Read(ctx, func(tx *db.Tx) error {
		nodes, err := nodehub.Nodes(tx)
		if err != nil || len(nodes) == 0 {
			return err
		}
		state := "unavailable"
		for _, n := range nodes {
			if n.Up {
				state = "available"
			}
		}
		for _, kind := range []string{"network", "router"} {
			z := doc{"name": defaultZone, "resource": kind, "state": state}
			keep := true
			for name, want := range q.Query() {
				if notFilters[name] {
					continue
				}
				have, ok := z[name].(string)
				if !ok {
					return httpBadRequest("['%s'] is invalid attribute for filtering", name)
				}
				keep = keep && contains(want, have)
			}
			if keep {
				out = append(out, z)
			}
		}
		return nil
	})
	return map[string]any{"availability_zones": out}, err
}

// ipAvailability counts addresses of networks' pools and those in use (neutron/db/network_ip_availability_db.py).
func (s *Service) ipAvailability(ctx context.Context, q *api.Request, id string) ([]doc, error) {
	q.Asked()
	out := []doc{}
	err := s.o.DB.Read(ctx, func(tx *db.Tx) error {
		c := s.call(tx, q, q.Caller)
		if !s.policy.Allowed("get_network_ip_availability", c.creds, policy.Map{}) {
			if id != "" {
				c.denied(policy.Map{}, "get_network_ip_availability")
				return resourceNotFound()
			}
			return nil
		}
		w, err := availabilityFilter(q, id)
		if err != nil {
			return err
		}
		nets, err := db.All(tx, scanNetwork, `SELECT `+networkColumns+` FROM net_networks t`+w.SQL()+` ORDER BY t.id`, w.Args()...)
		if err != nil {
			return err
		}
		for _, n := range nets {
			d, err := c.availabilityOf(n, q.Query().Get("ip_version"))
			if err != nil {
				return err
			}
			out = append(out, d)
		}
		return nil
	})
	return out, err
}

func availabilityFilter(q *api.Request, id string) (*db.Where, error) {
	w := &db.Where{}
	if id != "" {
		w.Add("t.id = ?", id)
		return w, nil
	}
	columns := map[string]string{"network_id": "t.id", "network_name": "t.name", "tenant_id": "t.project_id", "project_id": "t.project_id"}
	for name, vs := range q.Query() {
		switch {
		case notFilters[name]:
		case name == "ip_version":
			if v := vs[0]; v != "4" && v != "6" {
				return nil, invalidInput("'%s' is not in [4, 6]", v)
			}
		case columns[name] != "":
			w.In(columns[name], vs)
		default:
			return nil, httpBadRequest("['%s'] is invalid attribute for filtering", name)
		}
	}
	return w, nil
}

func (c *call) availabilityOf(n *network, version string) (doc, error) {
	subnets, err := c.subnetsOf(n.ID)
	if err != nil {
		return nil, err
	}
	total, used := new(big.Int), int64(0)
	l := []doc{}
	for _, s := range subnets {
		if version != "" && version != str(s.IPVersion) {
			continue
		}
		u, err := db.One(c.tx, db.Value[int64], `SELECT count(*) FROM net_ip_allocations WHERE subnet_id = $1`, s.ID)
		if err != nil && !errors.Is(err, db.ErrNotFound) {
			return nil, err
		}
		t := new(big.Int)
		for _, p := range s.Pools {
			t.Add(t, p.size())
		}
		if len(s.Pools) == 0 {
			t = ipRange{s.CIDR.Addr(), lastIP(s.CIDR)}.size()
		}
		total.Add(total, t)
		used += u
		l = append(l, doc{"subnet_id": s.ID, "subnet_name": s.Name, "ip_version": s.IPVersion, "cidr": s.CIDR.String(), "used_ips": u, "total_ips": t})
	}
	return doc{"network_id": n.ID, "network_name": n.Name, "tenant_id": n.ProjectID, "project_id": n.ProjectID, "subnet_ip_availability": l, "used_ips": used, "total_ips": total}, nil
}
