package compute

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

func (s *Service) groupProxyRoutes() []api.Route {
	all, one := "/v2.1/os-security-groups", "/v2.1/os-security-groups/{id}"
	return []api.Route{
		api.Handle("GET", all, api.Scoped(pSecGroups+"get"), 200, s.indexSecurityGroups, query(securityGroupsIndexQuery()), proxyMV()),
		api.Handle("POST", all, api.Scoped(pSecGroups+"create"), 200, s.createSecurityGroup, proxyMV()),
		api.Handle("GET", one, api.Scoped(pSecGroups+"show"), 200, s.showSecurityGroup, proxyMV()),
		api.Handle("PUT", one, api.Scoped(pSecGroups+"update"), 200, s.updateSecurityGroup, proxyMV()),
		api.Handle("DELETE", one, api.Scoped(pSecGroups+"delete"), 202, s.deleteSecurityGroup, proxyMV()),
		api.Handle("POST", "/v2.1/os-security-group-rules", api.Scoped(pSecGroups+"rule:create"), 200, s.createGroupRule, proxyMV()),
		api.Handle("DELETE", "/v2.1/os-security-group-rules/{id}", api.Scoped(pSecGroups+"rule:delete"), 202, s.deleteGroupRule, proxyMV()),
		api.Handle("GET", "/v2.1/servers/{id}/os-security-groups", api.Object(pSecGroups+"list"), 200, s.serverSecurityGroups),
	}
}

// secGroupView is a group of the network service in nova's words; rules of egress did not exist there.
func (s *Service) secGroupView(ctx context.Context, r *api.Request, g map[string]any) map[string]any {
	rules := []map[string]any{}
	for _, rule := range objects(g["security_group_rules"]) {
		if rule["direction"] != "ingress" {
			continue
		}
		if v := s.secRuleView(ctx, r, rule, g); v != nil {
			rules = append(rules, v)
		}
	}
	return map[string]any{"id": g["id"], "name": g["name"], "description": g["description"], "tenant_id": g["tenant_id"], "rules": rules}
}

// secRuleView is one rule, or nil when the group it names is gone (nova/network/security_group_api.py, _convert_to_nova_security_group_rule).
func (s *Service) secRuleView(ctx context.Context, r *api.Request, rule, parent map[string]any) map[string]any {
	v := map[string]any{"id": rule["id"], "parent_group_id": rule["security_group_id"], "ip_protocol": upper(rule["protocol"]), "from_port": rule["port_range_min"],
		"to_port": rule["port_range_max"], "group": map[string]any{}, "ip_range": map[string]any{}}
	if rule["port_range_min"] == nil && rule["protocol"] != nil && rule["port_range_max"] == nil {
		if p := strings.ToLower(pyText(rule["protocol"])); strings.Contains(p, "icmp") {
			v["from_port"], v["to_port"] = -1, -1
		} else {
			v["from_port"], v["to_port"] = 1, 65535
		}
	}
	if id, _ := rule["remote_group_id"].(string); id != "" {
		if parent != nil && parent["id"] == id {
			v["group"] = map[string]any{"name": parent["name"], "tenant_id": parent["tenant_id"]}
			return v
		}
		got, err := s.ask(ctx, r, "GET", "/network/v2.0/security-groups/"+url.PathEscape(id), nil)
		if err != nil {
			return nil
		}
		g, _ := got["security_group"].(map[string]any)
		v["group"] = map[string]any{"name": g["name"], "tenant_id": g["tenant_id"]}
		return v
	}
	cidr := rule["remote_ip_prefix"]
	if cidr == nil {
		cidr = map[bool]string{true: "::/0", false: "0.0.0.0/0"}[rule["ethertype"] == "IPv6"]
	}
	v["ip_range"] = map[string]any{"cidr": cidr}
	return v
}

func upper(v any) any {
	if t, ok := v.(string); ok {
		return strings.ToLower(t)
	}
	return nil
}

func sortGroups(docs []map[string]any) {
	slices.SortStableFunc(docs, func(a, b map[string]any) int {
		return cmp.Or(cmp.Compare(pyString(a["tenant_id"]), pyString(b["tenant_id"])), cmp.Compare(pyString(a["name"]), pyString(b["name"])))
	})
}

func pyString(v any) string { t, _ := v.(string); return t }

func (s *Service) indexSecurityGroups(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	path := "/network/v2.0/security-groups"
	if all := r.Query().Get("all_tenants"); !isAdmin(r) || !r.Query().Has("all_tenants") || all != "" && !boolOf(all, false) {
		path += "?tenant_id=" + url.QueryEscape(r.ProjectID())
	}
	got, err := s.ask(ctx, r, "GET", path, nil)
	if err != nil {
		return nil, err
	}
	docs := []map[string]any{}
	for _, g := range objects(got["security_groups"]) {
		docs = append(docs, s.secGroupView(ctx, r, g))
	}
	limit, offset := maxLimit, int(anyInt(r.Query().Get("offset"), 0))
	if n := int(anyInt(r.Query().Get("limit"), 0)); n > 0 {
		limit = min(limit, n)
	}
	docs = docs[min(max(offset, 0), len(docs)):]
	docs = docs[:min(limit, len(docs))]
	sortGroups(docs)
	return map[string]any{"security_groups": docs}, nil
}

func missingGroup(err error, id string) error {
	if fault.Is(err, 404) {
		return fault.NotFound("Security group %s not found.", id)
	}
	return err
}

// secGroup reads the group in the path.
func (s *Service) secGroup(ctx context.Context, r *api.Request, id string) (map[string]any, error) {
	if !isUUID(id) {
		return nil, fault.BadRequest("Security group id should be uuid")
	}
	got, err := s.ask(ctx, r, "GET", "/network/v2.0/security-groups/"+url.PathEscape(id), nil)
	g, _ := got["security_group"].(map[string]any)
	return g, missingGroup(err, id)
}

func (s *Service) showSecurityGroup(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	g, err := s.secGroup(ctx, r, r.Path("id"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"security_group": s.secGroupView(ctx, r, g)}, nil
}

// groupBody checks name and description (nova/network/security_group_api.py, validate_property).
func groupBody(in map[string]any) (map[string]any, error) {
	g, ok := in["security_group"].(map[string]any)
	if !ok {
		return nil, fault.BadRequest("Missing parameter security_group")
	}
	out := map[string]any{}
	for _, k := range []string{"name", "description"} {
		t, ok := g[k].(string)
		switch {
		case !ok:
			return nil, fault.BadRequest("Security group %s is not a string or unicode", k)
		case k == "name" && strings.TrimSpace(t) == "":
			return nil, fault.BadRequest("Security group %s cannot be empty.", k)
		case len([]rune(t)) > 255:
			return nil, fault.BadRequest("Security group %s should not be greater than 255 characters.", k)
		}
		out[k] = t
	}
	return map[string]any{"security_group": out}, nil
}

func (s *Service) createSecurityGroup(ctx context.Context, r *api.Request, in map[string]any) (map[string]any, error) {
	return s.saveSecurityGroup(ctx, r, in, "POST", "/network/v2.0/security-groups")
}

func (s *Service) updateSecurityGroup(ctx context.Context, r *api.Request, in map[string]any) (map[string]any, error) {
	if _, err := s.secGroup(ctx, r, r.Path("id")); err != nil {
		return nil, err
	}
	return s.saveSecurityGroup(ctx, r, in, "PUT", "/network/v2.0/security-groups/"+url.PathEscape(r.Path("id")))
}

func (s *Service) saveSecurityGroup(ctx context.Context, r *api.Request, in map[string]any, method, path string) (map[string]any, error) {
	b, err := groupBody(in)
	if err != nil {
		return nil, err
	}
	got, err := s.ask(ctx, r, method, path, b)
	if fault.Is(err, 409) {
		if strings.Contains(strings.ToLower(fault.As(err).Message), "quota") {
			return nil, fault.Forbidden("%s", fault.As(err).Message)
		}
		return nil, fault.BadRequest("%s", fault.As(err).Message)
	}
	if err != nil {
		return nil, err
	}
	g, _ := got["security_group"].(map[string]any)
	return map[string]any{"security_group": s.secGroupView(ctx, r, g)}, nil
}

func (s *Service) deleteSecurityGroup(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	if _, err := s.secGroup(ctx, r, r.Path("id")); err != nil {
		return api.None{}, err
	}
	_, err := s.ask(ctx, r, "DELETE", "/network/v2.0/security-groups/"+url.PathEscape(r.Path("id")), nil)
	if fault.Is(err, 409) {
		err = fault.BadRequest("%s", fault.As(err).Message)
	}
	return api.None{}, err
}

func (s *Service) createGroupRule(ctx context.Context, r *api.Request, in map[string]any) (map[string]any, error) {
	v, ok := in["security_group_rule"].(map[string]any)
	if !ok {
		return nil, fault.BadRequest("Missing parameter security_group_rule")
	}
	parent, err := s.secGroup(ctx, r, pyString(v["parent_group_id"]))
	if err != nil {
		return nil, err
	}
	rule := map[string]any{"security_group_id": parent["id"], "direction": "ingress", "ethertype": "IPv4"}
	if id := pyString(v["group_id"]); id != "" {
		if _, err := s.secGroup(ctx, r, id); err != nil {
			return nil, err
		}
		rule["remote_group_id"] = id
	} else if cidr := pyString(v["cidr"]); cidr != "" {
		rule["remote_ip_prefix"] = cidr
		if strings.Contains(cidr, ":") {
			rule["ethertype"] = "IPv6"
		}
	}
	if err := rulePorts(v, rule); err != nil {
		return nil, err
	}
	got, err := s.ask(ctx, r, "POST", "/network/v2.0/security-group-rules", map[string]any{"security_group_rule": rule})
	if fault.Is(err, 409) {
		err = fault.BadRequest("%s", fault.As(err).Message)
	}
	if err != nil {
		return nil, err
	}
	made, _ := got["security_group_rule"].(map[string]any)
	return map[string]any{"security_group_rule": s.secRuleView(ctx, r, made, parent)}, nil
}

// rulePorts checks protocol and ports as nova/network/security_group_api.py, new_cidr_ingress_rule does.
func rulePorts(v, rule map[string]any) error {
	protocol := strings.ToLower(pyString(v["ip_protocol"]))
	from, to := v["from_port"], v["to_port"]
	if protocol == "" || from == nil || to == nil {
		if rule["remote_group_id"] == nil {
			return fault.BadRequest("Not enough parameters to build a valid rule.")
		}
		return nil
	}
	if !slices.Contains([]string{"tcp", "udp", "icmp"}, protocol) {
		return fault.BadRequest("Invalid IP protocol %s.", protocol)
	}
	a, b := anyInt(from, -2), anyInt(to, -2)
	if protocol == "icmp" && (a < -1 || a > 255 || b < -1 || b > 255) || protocol != "icmp" && (a > b || a < 1 || b > 65535) {
		return fault.BadRequest("Invalid port range %s:%s. Valid %s ports should be between 1-65535", pyText(from), pyText(to), strings.ToUpper(protocol))
	}
	rule["protocol"] = protocol
	if a >= 0 {
		rule["port_range_min"] = a
	}
	if b >= 0 {
		rule["port_range_max"] = b
	}
	return nil
}

func (s *Service) deleteGroupRule(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	id := r.Path("id")
	if !isUUID(id) {
		return api.None{}, fault.BadRequest("Security group rule id should be uuid")
	}
	_, err := s.ask(ctx, r, "DELETE", "/network/v2.0/security-group-rules/"+url.PathEscape(id), nil)
	if fault.Is(err, 404) {
		err = fault.NotFound("Security group rule %s not found.", id)
	}
	return api.None{}, err
}

// serverSecurityGroups are the groups on a server's ports.
func (s *Service) serverSecurityGroups(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	ports, err := s.portsByAPI(ctx, r, pSecGroups+"list")
	if err != nil {
		return nil, err
	}
	docs := []map[string]any{}
	seen := map[string]bool{}
	for _, p := range ports {
		for _, id := range list(p["security_groups"]) {
			if seen[pyString(id)] {
				continue
			}
			seen[pyString(id)] = true
			got, err := s.ask(ctx, r, "GET", "/network/v2.0/security-groups/"+url.PathEscape(pyString(id)), nil)
			if fault.Is(err, 404) {
				continue
			}
			if err != nil {
				return nil, err
			}
			g, _ := got["security_group"].(map[string]any)
			docs = append(docs, s.secGroupView(ctx, r, g))
		}
	}
	sortGroups(docs)
	return map[string]any{"security_groups": docs}, nil
}

// portsByAPI are a server's ports as the network service shows them, after a rule on the server.
func (s *Service) portsByAPI(ctx context.Context, r *api.Request, rule string) ([]map[string]any, error) {
	if err := s.readServer(ctx, r, rule, func(*db.Tx, *Server) error { return nil }); err != nil {
		return nil, err
	}
	got, err := s.ask(ctx, r, "GET", "/network/v2.0/ports?device_id="+url.QueryEscape(r.Path("id")), nil)
	return objects(got["ports"]), err
}

// changeSecurityGroup adds a group to all of a server's ports, or takes it away.
func (s *Service) changeSecurityGroup(verb string) func(context.Context, *api.Request, any) (any, error) {
	return func(ctx context.Context, r *api.Request, arg any) (any, error) {
		in, ok := arg.(map[string]any)
		if !ok {
			return nil, fault.BadRequest("Missing parameter dict")
		}
		v, ok := in["name"]
		if !ok {
			return nil, fault.BadRequest("Security group not specified")
		}
		name := pyString(v)
		if strings.TrimSpace(name) == "" {
			return nil, fault.BadRequest("Security group name cannot be empty")
		}
		ports, err := s.portsByAPI(ctx, r, pSecGroups+verb)
		if err != nil {
			return nil, err
		}
		id, err := s.groupID(ctx, r, name)
		if err != nil {
			return nil, err
		}
		return api.None{}, s.setPortGroups(ctx, r, ports, id, name, verb)
	}
}

// groupID finds a group of the project by name or id.
func (s *Service) groupID(ctx context.Context, r *api.Request, name string) (string, error) {
	got, err := s.ask(ctx, r, "GET", "/network/v2.0/security-groups?tenant_id="+url.QueryEscape(r.ProjectID()), nil)
	if err != nil {
		return "", err
	}
	var ids []string
	for _, g := range objects(got["security_groups"]) {
		if g["id"] == name {
			return name, nil
		}
		if g["name"] == name {
			ids = append(ids, pyString(g["id"]))
		}
	}
	switch len(ids) {
	case 0:
		return "", fault.NotFound("Security group %s not found for project %s.", name, r.ProjectID())
	case 1:
		return ids[0], nil
	}
	return "", fault.Conflict("Multiple security groups found matching '%s'. Use an ID to be more specific.", name)
}

func (s *Service) setPortGroups(ctx context.Context, r *api.Request, ports []map[string]any, id, name, verb string) error {
	if len(ports) == 0 {
		return fault.NotFound("Instance %s could not be found.", r.Path("id"))
	}
	changed, had := 0, false
	for _, p := range ports {
		var ids []string
		for _, g := range list(p["security_groups"]) {
			ids = append(ids, pyString(g))
		}
		i := slices.Index(ids, id)
		had = had || i >= 0
		switch {
		case verb == "add" && i < 0:
			if enabled, ok := p["port_security_enabled"].(bool); ok && !enabled || len(list(p["fixed_ips"])) == 0 {
				continue
			}
			ids = append(ids, id)
		case verb == "remove" && i >= 0:
			ids = slices.Delete(ids, i, i+1)
		default:
			continue
		}
		if ids == nil {
			ids = []string{}
		}
		if _, err := s.ask(ctx, r, http.MethodPut, "/network/v2.0/ports/"+url.PathEscape(pyString(p["id"])), map[string]any{"port": map[string]any{"security_groups": ids}}); err != nil {
			return err
		}
		changed++
	}
	if changed == 0 && verb == "remove" && !had {
		return fault.NotFound("Security group %s not associated with the instance %s", name, r.Path("id"))
	}
	return nil
}
