package compute

import (
	"context"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/network"
)

type fixedIPDoc struct {
	SubnetID string `json:"subnet_id"`
	IP       string `json:"ip_address"`
}

type interfaceDoc struct {
	NetID    string       `json:"net_id"`
	PortID   string       `json:"port_id"`
	MAC      string       `json:"mac_addr"`
	State    string       `json:"port_state"`
	FixedIPs []fixedIPDoc `json:"fixed_ips"`
	Tag      *string      `json:"tag" mv:"2.70-"`
}

func interfaceView(p network.Port) interfaceDoc {
	d := interfaceDoc{NetID: p.NetworkID, PortID: p.ID, MAC: p.MAC, State: p.Status, FixedIPs: []fixedIPDoc{}, Tag: orNull(p.Tag)}
	for _, ip := range p.FixedIPs {
		d.FixedIPs = append(d.FixedIPs, fixedIPDoc{ip.SubnetID, ip.IP})
	}
	return d
}

func (s *Service) interfaceRoutes() []api.Route {
	all, one := "/v2.1/servers/{id}/os-interface", "/v2.1/servers/{id}/os-interface/{port}"
	return []api.Route{
		api.Handle("GET", all, api.Object(pInterfaces+"list"), 200, s.indexInterfaces),
		api.Handle("POST", all, api.Object(pInterfaces+"create"), 200, s.attachInterface, body(attachInterfacesCreateBody())),
		api.Handle("GET", one, api.Object(pInterfaces+"show"), 200, s.showInterface),
		api.Handle("DELETE", one, api.Object(pInterfaces+"delete"), 202, s.detachInterface),
		api.Handle("GET", "/v2.1/servers/{id}/ips", api.Object("os_compute_api:ips:index"), 200, s.indexIPs),
		api.Handle("GET", "/v2.1/servers/{id}/ips/{network}", api.Object("os_compute_api:ips:show"), 200, s.showIPs),
	}
}

func (s *Service) indexInterfaces(ctx context.Context, r *api.Request, _ api.None) (map[string][]interfaceDoc, error) {
	out := []interfaceDoc{}
	err := s.readServer(ctx, r, pInterfaces+"list", func(tx *db.Tx, v *Server) error {
		ports, err := s.portsOf(tx, []string{v.ID})
		for _, p := range ports[v.ID] {
			out = append(out, interfaceView(p))
		}
		return err
	})
	return map[string][]interfaceDoc{"interfaceAttachments": out}, err
}

func (s *Service) showInterface(ctx context.Context, r *api.Request, _ api.None) (out map[string]interfaceDoc, err error) {
	err = s.readServer(ctx, r, pInterfaces+"show", func(tx *db.Tx, v *Server) error {
		ports, err := s.portsOf(tx, []string{v.ID})
		if err != nil {
			return err
		}
		i := slices.IndexFunc(ports[v.ID], func(p network.Port) bool { return p.ID == r.Path("port") })
		if i < 0 {
			return fault.NotFound("Instance %s does not have a port with id %s", v.ID, r.Path("port"))
		}
		out = map[string]interfaceDoc{"interfaceAttachment": interfaceView(ports[v.ID][i])}
		return nil
	})
	return out, err
}

type attachIn struct {
	Attachment struct {
		NetID    string       `json:"net_id"`
		PortID   string       `json:"port_id"`
		FixedIPs []fixedIPDoc `json:"fixed_ips"`
		Tag      string       `json:"tag"`
	} `json:"interfaceAttachment"`
}

func (s *Service) attachInterface(ctx context.Context, r *api.Request, in attachIn) (out map[string]interfaceDoc, err error) {
	a := in.Attachment
	req := network.PortRequest{PortID: a.PortID, NetworkID: a.NetID, Tag: a.Tag}
	if len(a.FixedIPs) > 0 {
		req.FixedIP = a.FixedIPs[0].IP
	}
	err = s.withServer(ctx, r, pInterfaces+"create", func(tx *db.Tx, v *Server) error {
		if a.NetID != "" && a.PortID != "" {
			return fault.BadRequest("Must not input both network_id and port_id")
		}
		if req.FixedIP != "" && a.NetID == "" {
			return fault.BadRequest("Must input network_id when request IP address")
		}
		if err := s.allowed(r, v, "attach_interface", []string{vmActive, vmPaused, vmStopped}); err != nil {
			return err
		}
		preq := network.ServerPortsRequest{ServerID: v.ID, ServerName: v.Hostname, ProjectID: v.ProjectID, Requests: []network.PortRequest{req}, AvailabilityZone: v.AvailabilityZone}
		if a.NetID == "" && a.PortID == "" {
			preq.Requests, preq.Auto = nil, true
		}
		made, err := s.o.Network.PrepareServerPorts(tx, r.Caller, preq)
		if err != nil {
			return err
		}
		if len(made) == 0 {
			return fault.BadRequest("No specific network was requested and none are available for project '%s'.", v.ProjectID)
		}
		if err := s.o.Network.BindServerPorts(tx, v.ID, v.Host); err != nil {
			return err
		}
		if err := s.act(tx, r, v, intentNone, "attach_interface", "compute_attach_interface"); err != nil {
			return err
		}
		out = map[string]interfaceDoc{"interfaceAttachment": interfaceView(made[len(made)-1])}
		return nil
	})
	return out, err
}

func (s *Service) detachInterface(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.withServer(ctx, r, pInterfaces+"delete", func(tx *db.Tx, v *Server) error {
		if err := s.allowed(r, v, "detach_interface", []string{vmActive, vmPaused, vmStopped}); err != nil {
			return err
		}
		ports, err := s.portsOf(tx, []string{v.ID})
		if err != nil {
			return err
		}
		port := r.Path("port")
		if !slices.ContainsFunc(ports[v.ID], func(p network.Port) bool { return p.ID == port }) {
			return fault.NotFound("Port %s not attached", port)
		}
		if err := s.o.Network.DetachPort(tx, v.ID, port); err != nil {
			return err
		}
		return s.act(tx, r, v, intentNone, "detach_interface", "compute_detach_interface")
	})
}

func (s *Service) indexIPs(ctx context.Context, r *api.Request, _ api.None) (out api.JSON, err error) {
	err = s.readServer(ctx, r, "os_compute_api:ips:index", func(tx *db.Tx, v *Server) error {
		ports, err := s.portsOf(tx, []string{v.ID})
		var d docWriter
		d.open()
		writeAddresses(&d, ports[v.ID], false)
		d.shut()
		out = wrap("addresses", d.b)
		return err
	})
	return out, err
}

func (s *Service) showIPs(ctx context.Context, r *api.Request, _ api.None) (out api.JSON, err error) {
	err = s.readServer(ctx, r, "os_compute_api:ips:show", func(tx *db.Tx, v *Server) error {
		ports, err := s.portsOf(tx, []string{v.ID})
		if err != nil {
			return err
		}
		there := slices.DeleteFunc(ports[v.ID], func(p network.Port) bool { return p.NetworkName != r.Path("network") })
		if len(there) == 0 {
			return fault.NotFound("Instance is not a member of specified network")
		}
		var d docWriter
		d.open()
		writeAddresses(&d, there, false)
		d.shut()
		out = d.b
		return nil
	})
	return out, err
}
