package compute

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// The routes that nova had before the network and image services were apart, until 2.35, are answered as upstream answers them: by asking
// those services' own APIs in the name of the caller, so that their rules, quotas and refusals hold.

// SetLocal gives the service the cloud's own HTTP handler. It is made after this service.
func (s *Service) SetLocal(h http.Handler) { s.local = h }

// answer collects what a handler writes.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(code int) {
	if a.status == 0 {
		a.status = code
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// ask sends a request to a service of the same cloud in the name of the caller. A refusal is an error with the status and text.
func (s *Service) ask(ctx context.Context, r *api.Request, method, path string, in any) (map[string]any, error) {
	if s.local == nil {
		return nil, notSupported()
	}
	var body io.Reader = http.NoBody
	kind := "application/json"
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
		if method == http.MethodPatch {
			kind = "application/openstack-images-v2.1-json-patch"
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://local"+path, body)
	if err != nil {
		return nil, fault.BadRequest("Malformed request url").Because(err)
	}
	req.RequestURI = req.URL.RequestURI()
	req.RemoteAddr = net.JoinHostPort(r.ClientAddr(), "0")
	req.TLS = r.HTTP.TLS // the token may be bound to the client's certificate
	req.Header.Set("X-Auth-Token", r.Caller.Token)
	req.Header.Set("Content-Type", kind)
	a := &answer{header: http.Header{}}
	s.local.ServeHTTP(a, req)
	if a.status >= 400 {
		return nil, &fault.Error{Status: a.status, Message: refusalText(a.body.Bytes()), Cause: fmt.Errorf("%s %s: %d", method, path, a.status)}
	}
	if a.body.Len() == 0 {
		return nil, nil
	}
	return decodeMap(a.body.Bytes())
}

// refusalText finds the message in the error bodies of the services.
func refusalText(b []byte) string {
	var v map[string]any
	if json.Unmarshal(b, &v) == nil {
		if e, ok := v["NeutronError"].(map[string]any); ok {
			t, _ := e["message"].(string)
			return t
		}
		if t, ok := v["message"].(string); ok {
			return t
		}
	}
	return "The resource could not be found."
}

// decodeMap reads a JSON object; numbers stay as they are written.
func decodeMap(b []byte) (map[string]any, error) {
	var v map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return v, nil
}

func objects(v any) []map[string]any {
	l := list(v)
	out := make([]map[string]any, 0, len(l))
	for _, e := range l {
		if m, ok := e.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// proxyMV is until when the proxies exist.
func proxyMV() api.Option { return api.MV("2.1-2.35") }

func gone(context.Context, *api.Request, api.None) (api.None, error) {
	return api.None{}, fault.New(http.StatusGone, "", "This resource is no longer available. No forwarding address is given.")
}

func (s *Service) networkProxyRoutes() []api.Route {
	const nets, tenant = "os_compute_api:os-networks:", "os_compute_api:os-tenant-networks:"
	return []api.Route{
		api.Handle("GET", "/v2.1/os-networks", api.Scoped(nets+"list"), 200, s.proxyNetworks(oldNetwork), proxyMV()),
		api.Handle("GET", "/v2.1/os-networks/{id}", api.Scoped(nets+"show"), 200, s.proxyNetwork(oldNetwork, "Network not found"), proxyMV()),
		api.Handle("POST", "/v2.1/os-networks", api.Authenticated(), 200, gone),
		api.Handle("DELETE", "/v2.1/os-networks/{id}", api.Authenticated(), 200, gone),
		api.Handle("GET", "/v2.1/os-tenant-networks", api.Scoped(tenant+"list"), 200, s.proxyNetworks(tenantNetwork), proxyMV()),
		api.Handle("GET", "/v2.1/os-tenant-networks/{id}", api.Scoped(tenant+"show"), 200, s.proxyNetwork(tenantNetwork, "Network not found"), proxyMV()),
		api.Handle("POST", "/v2.1/os-tenant-networks", api.Authenticated(), 200, gone),
		api.Handle("DELETE", "/v2.1/os-tenant-networks/{id}", api.Authenticated(), 200, gone),
		api.Handle("GET", "/v2.1/os-floating-ip-pools", api.Scoped("os_compute_api:os-floating-ip-pools"), 200, s.floatingIPPools, proxyMV()),
		api.Handle("GET", "/v2.1/os-floating-ips", api.Scoped(pFloatingIPs+"list"), 200, s.indexFloatingIPs, proxyMV()),
		api.Handle("POST", "/v2.1/os-floating-ips", api.Scoped(pFloatingIPs+"create"), 200, s.createFloatingIP, proxyMV()),
		api.Handle("GET", "/v2.1/os-floating-ips/{id}", api.Scoped(pFloatingIPs+"show"), 200, s.showFloatingIP, proxyMV()),
		api.Handle("DELETE", "/v2.1/os-floating-ips/{id}", api.Scoped(pFloatingIPs+"delete"), 202, s.deleteFloatingIP, proxyMV()),
	}
}

// oldNetwork has the fields of the network service that nova once had; all that it knew besides id and label is null.
func oldNetwork(r *api.Request, n map[string]any) map[string]any {
	fields := []string{"cidr", "netmask", "gateway", "broadcast", "dns1", "dns2", "cidr_v6", "gateway_v6", "netmask_v6"}
	if isAdmin(r) {
		fields = append(fields, "created_at", "updated_at", "deleted_at", "deleted", "injected", "bridge", "vlan", "vpn_public_address", "vpn_public_port",
			"vpn_private_address", "dhcp_start", "project_id", "host", "bridge_interface", "multi_host", "priority", "rxtx_base", "mtu", "dhcp_server",
			"enable_dhcp", "share_address")
	}
	out := map[string]any{"id": n["id"], "label": n["name"]}
	for _, f := range fields {
		out[f] = nil
	}
	return out
}

func tenantNetwork(_ *api.Request, n map[string]any) map[string]any {
	return map[string]any{"id": n["id"], "cidr": "None", "label": n["name"]}
}

func (s *Service) proxyNetworks(view func(*api.Request, map[string]any) map[string]any) func(context.Context, *api.Request, api.None) (map[string]any, error) {
	return func(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
		got, err := s.ask(ctx, r, "GET", "/network/v2.0/networks", nil)
		if err != nil {
			return nil, err
		}
		docs := []map[string]any{}
		for _, n := range objects(got["networks"]) {
			docs = append(docs, view(r, n))
		}
		return map[string]any{"networks": docs}, nil
	}
}

func (s *Service) proxyNetwork(view func(*api.Request, map[string]any) map[string]any, missing string) func(context.Context, *api.Request, api.None) (map[string]any, error) {
	return func(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
		got, err := s.ask(ctx, r, "GET", "/network/v2.0/networks/"+url.PathEscape(r.Path("id")), nil)
		if fault.Is(err, 404) {
			return nil, fault.NotFound("%s", missing)
		}
		if err != nil {
			return nil, err
		}
		n, _ := got["network"].(map[string]any)
		return map[string]any{"network": view(r, n)}, nil
	}
}

// external are the networks that floating IPs come from.
func (s *Service) external(ctx context.Context, r *api.Request) ([]map[string]any, error) {
	got, err := s.ask(ctx, r, "GET", "/network/v2.0/networks?router%3Aexternal=True", nil)
	return objects(got["networks"]), err
}

func (s *Service) floatingIPPools(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	nets, err := s.external(ctx, r)
	docs := []map[string]any{}
	for _, n := range nets {
		docs = append(docs, map[string]any{"name": n["name"]})
	}
	return map[string]any{"floating_ip_pools": docs}, err
}

// floatingIPView needs the pool's name and the server, which the port knows.
func (s *Service) floatingIPView(ctx context.Context, r *api.Request, f map[string]any, pools []map[string]any) map[string]any {
	out := map[string]any{"id": f["id"], "ip": f["floating_ip_address"], "fixed_ip": f["fixed_ip_address"], "pool": f["floating_network_id"], "instance_id": nil}
	for _, n := range pools {
		if n["id"] == f["floating_network_id"] {
			out["pool"] = n["name"]
		}
	}
	if port, _ := f["port_id"].(string); port != "" {
		if got, err := s.ask(ctx, r, "GET", "/network/v2.0/ports/"+url.PathEscape(port), nil); err == nil {
			p, _ := got["port"].(map[string]any)
			out["instance_id"] = p["device_id"]
		}
	}
	return out
}

func (s *Service) indexFloatingIPs(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	pools, err := s.external(ctx, r)
	if err != nil {
		return nil, err
	}
	got, err := s.ask(ctx, r, "GET", "/network/v2.0/floatingips?tenant_id="+url.QueryEscape(r.ProjectID()), nil)
	docs := []map[string]any{}
	for _, f := range objects(got["floatingips"]) {
		docs = append(docs, s.floatingIPView(ctx, r, f, pools))
	}
	return map[string]any{"floating_ips": docs}, err
}

func (s *Service) createFloatingIP(ctx context.Context, r *api.Request, in map[string]any) (map[string]any, error) {
	pools, err := s.external(ctx, r)
	if err != nil {
		return nil, err
	}
	want, _ := in["pool"].(string)
	network := ""
	for _, n := range pools {
		if want == "" || n["name"] == want || n["id"] == want {
			network, _ = n["id"].(string)
			break
		}
	}
	if network == "" {
		return nil, fault.NotFound("Floating IP pool not found.")
	}
	got, err := s.ask(ctx, r, "POST", "/network/v2.0/floatingips", map[string]any{"floatingip": map[string]any{"floating_network_id": network, "tenant_id": r.ProjectID()}})
	switch {
	case fault.Is(err, 409) && want != "":
		return nil, fault.Forbidden("IP allocation over quota in pool %s.", want)
	case fault.Is(err, 409):
		return nil, fault.Forbidden("IP allocation over quota.")
	case err != nil:
		return nil, err
	}
	f, _ := got["floatingip"].(map[string]any)
	return map[string]any{"floating_ip": s.floatingIPView(ctx, r, f, pools)}, nil
}

func (s *Service) floatingIP(ctx context.Context, r *api.Request) (map[string]any, error) {
	id := r.Path("id")
	if !isUUID(id) {
		return nil, fault.BadRequest("Invalid ID received %s.", id)
	}
	got, err := s.ask(ctx, r, "GET", "/network/v2.0/floatingips/"+url.PathEscape(id), nil)
	if fault.Is(err, 404) {
		return nil, fault.NotFound("Floating IP not found for ID %s", id)
	}
	f, _ := got["floatingip"].(map[string]any)
	return f, err
}

func (s *Service) showFloatingIP(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	f, err := s.floatingIP(ctx, r)
	if err != nil {
		return nil, err
	}
	pools, err := s.external(ctx, r)
	return map[string]any{"floating_ip": s.floatingIPView(ctx, r, f, pools)}, err
}

func (s *Service) deleteFloatingIP(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	f, err := s.floatingIP(ctx, r)
	if err != nil {
		return api.None{}, err
	}
	id, _ := f["id"].(string)
	_, err = s.ask(ctx, r, "DELETE", "/network/v2.0/floatingips/"+url.PathEscape(id), nil)
	return api.None{}, err
}

// serverPorts reads a server's ports after a rule.
func (s *Service) fixedIPs(ctx context.Context, r *api.Request, rule string) (out [][2]string, err error) {
	err = s.readServer(ctx, r, rule, func(tx *db.Tx, v *Server) error {
		ports, err := s.portsOf(tx, []string{v.ID})
		out = nil
		for _, p := range ports[v.ID] {
			for _, ip := range p.FixedIPs {
				out = append(out, [2]string{p.ID, ip.IP})
			}
		}
		return err
	})
	return out, err
}

// byAddress finds the caller's floating IP with an address.
func (s *Service) byAddressOf(ctx context.Context, r *api.Request, address string) (map[string]any, error) {
	got, err := s.ask(ctx, r, "GET", "/network/v2.0/floatingips?floating_ip_address="+url.QueryEscape(address), nil)
	if err != nil {
		return nil, err
	}
	f := objects(got["floatingips"])
	if len(f) == 0 {
		return nil, fault.NotFound("floating IP not found")
	}
	return f[0], nil
}

func (s *Service) associate(ctx context.Context, r *api.Request, f map[string]any, in map[string]any) error {
	id, _ := f["id"].(string)
	_, err := s.ask(ctx, r, "PUT", "/network/v2.0/floatingips/"+url.PathEscape(id), map[string]any{"floatingip": in})
	return err
}

func (s *Service) addFloatingIP(ctx context.Context, r *api.Request, arg any) (any, error) {
	in := arg.(map[string]any)
	address, _ := in["address"].(string)
	fixed, err := s.fixedIPs(ctx, r, pFloatingIPs+"add")
	if err != nil {
		return nil, err
	}
	if len(fixed) == 0 {
		return nil, fault.BadRequest("No fixed IPs associated to instance")
	}
	at := fixed[0]
	if want, ok := in["fixed_address"].(string); ok {
		at = [2]string{}
		for _, f := range fixed {
			if f[1] == want {
				at = f
			}
		}
		if at[0] == "" {
			return nil, fault.BadRequest("Specified fixed address not assigned to instance")
		}
	}
	f, err := s.byAddressOf(ctx, r, address)
	if err != nil {
		return nil, err
	}
	if err := s.associate(ctx, r, f, map[string]any{"port_id": at[0], "fixed_ip_address": at[1]}); err != nil {
		return nil, fault.BadRequest("Unable to associate floating IP %s to fixed IP %s for instance %s. Error: %s", address, at[1], r.Path("id"), fault.As(err).Message)
	}
	return api.None{}, nil
}

func (s *Service) removeFloatingIP(ctx context.Context, r *api.Request, arg any) (any, error) {
	address, _ := arg.(map[string]any)["address"].(string)
	fixed, err := s.fixedIPs(ctx, r, pFloatingIPs+"remove")
	if err != nil {
		return nil, err
	}
	f, err := s.byAddressOf(ctx, r, address)
	if err != nil {
		return nil, err
	}
	port, _ := f["port_id"].(string)
	for _, at := range fixed {
		if port != "" && at[0] == port {
			return api.None{}, s.associate(ctx, r, f, map[string]any{"port_id": nil})
		}
	}
	return nil, fault.Conflict("Floating IP %s is not associated with instance %s.", address, r.Path("id"))
}
