package identity

import (
	"context"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/identity/mapping"
	"github.com/hanok-cloud/hanok/internal/policy"
)

const federationPath = "/v3/OS-FEDERATION"

// federationRoutes are keystone/api/os_federation.py and the web logins of keystone/api/auth.py. SAML is not offered: no metadata, and no
// assertions for other clouds.
func (s *Service) federationRoutes() []api.Route {
	o := api.Object
	const idp, protocol = federationPath + "/identity_providers/{idp_id}", federationPath + "/identity_providers/{idp_id}/protocols/{protocol_id}"
	const login, loginAt = "/v3/auth/OS-FEDERATION/websso/{protocol_id}", "/v3/auth/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/websso"
	return slices.Concat(
		s.providers().named(federationPath+"/identity_providers", "idp_id", s.createProvider),
		s.mappings().named(federationPath+"/mappings", "mapping_id", s.createMapping),
		s.serviceProviders().named(federationPath+"/service_providers", "service_provider_id", s.createServiceProvider),
		[]api.Route{
			api.Handle("GET", idp+"/protocols", o("identity:list_protocols"), 200, s.listProtocols),
			api.Handle("GET", protocol, o("identity:get_protocol"), 200, s.showProtocol),
			api.Handle("PUT", protocol, o("identity:create_protocol"), 201, s.createProtocol),
			api.Handle("PATCH", protocol, o("identity:update_protocol"), 200, s.updateProtocol),
			api.Handle("DELETE", protocol, o("identity:delete_protocol"), 204, s.deleteProtocol),
			api.Handle("GET", protocol+"/auth", api.Public(), 201, s.federatedAuth, api.Authenticates()),
			api.Handle("POST", protocol+"/auth", api.Public(), 201, s.federatedAuth, api.Authenticates()),
			api.Handle("GET", login, api.Public(), 200, s.webLoginByProtocol, api.Authenticates()),
			api.Handle("POST", login, api.Public(), 200, s.webLoginByProtocol, api.Authenticates()),
			api.Handle("GET", loginAt, api.Public(), 200, s.webLogin, api.Authenticates()),
			api.Handle("POST", loginAt, api.Public(), 200, s.webLogin, api.Authenticates()),
		})
}

// named are the routes of a kind whose members are made by PUT under the client's id.
func (c simple) named(path, id string, put func(context.Context, *api.Request, map[string]any) (doc, error)) []api.Route {
	routes := c.routes(path, id)
	routes[1] = api.Handle("PUT", path+"/{"+id+"}", api.Object("identity:create_"+c.rule), 201, put)
	return routes
}

func (s *Service) providers() simple {
	return simple{s: s, k: s.fed.provider, rule: "identity_provider", list: "identity_providers", create: s.fed.providerCreate, update: s.fed.providerUpdate, filters: []string{"id", "enabled"},
		changing: s.changeProvider, deleting: func(tx *db.Tx, _ *api.Request, old doc) error { return clearProvider(tx, str(old, "id")) }}
}

func (s *Service) createProvider(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	if err := r.Enforce("identity:create_identity_provider", policy.Map{}); err != nil {
		return nil, err
	}
	d, err := checked(s.fed.providerCreate, memberOf(in, "identity_provider"))
	if err != nil {
		return nil, err
	}
	id := r.Path("idp_id")
	d["id"] = id
	setDefault(d, "enabled", false)
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		d := clone(d)
		if err := s.insertProvider(tx, d); err != nil {
			return nil, err
		}
		got, err := s.fed.provider.get(tx, id)
		if err != nil {
			return nil, err
		}
		return s.fed.provider.member(s, r, got), nil
	})
}

func (s *Service) mappings() simple {
	return simple{s: s, k: s.fed.mapping, rule: "mapping", list: "mappings", validate: s.checkMapping,
		deleting: func(tx *db.Tx, _ *api.Request, old doc) error { return closeProtocols(tx, str(old, "id")) }}
}

// checkMapping reads a body's mapping and completes its version.
func (s *Service) checkMapping(in map[string]any) (doc, error) {
	given, _ := memberOf(in, "mapping").(map[string]any)
	d := normalized(given)
	switch v := d["schema_version"].(type) {
	case nil:
		d["schema_version"] = mapping.Version1
	case string:
		if v == "" {
			d["schema_version"] = mapping.Version1
		}
	default:
		return nil, fault.BadRequest("schema_version must be a string.")
	}
	if said := s.fed.structure.Validate(str(d, "schema_version"), d); said != "" {
		return nil, fault.BadRequest("%s", said)
	}
	return doc{"rules": d["rules"], "schema_version": d["schema_version"]}, nil
}

func (s *Service) createMapping(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	if err := r.Enforce("identity:create_mapping", policy.Map{}); err != nil {
		return nil, err
	}
	d, err := s.checkMapping(in)
	if err != nil {
		return nil, err
	}
	d["id"] = r.Path("mapping_id")
	return s.insertNamed(ctx, r, s.fed.mapping, d, "Duplicate entry")
}

func (s *Service) serviceProviders() simple {
	return simple{s: s, k: s.fed.serviceProvider, rule: "service_provider", list: "service_providers", create: s.fed.serviceProviderCreate, update: s.fed.serviceProviderUpdate,
		filters: []string{"id", "enabled"}}
}

// relayState is keystone's [saml] relay_state_prefix.
const relayState = "ss:mem:"

func (s *Service) createServiceProvider(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	if err := r.Enforce("identity:create_service_provider", policy.Map{}); err != nil {
		return nil, err
	}
	d, err := checked(s.fed.serviceProviderCreate, memberOf(in, "service_provider"))
	if err != nil {
		return nil, err
	}
	id := r.Path("service_provider_id")
	d["id"] = id
	setDefault(d, "enabled", false)
	if _, given := d["relay_state_prefix"]; !given {
		d["relay_state_prefix"] = relayState
	}
	return s.insertNamed(ctx, r, s.fed.serviceProvider, d, "Duplicate entry found with ID "+id)
}

// insertNamed stores a resource under the client's id.
func (s *Service) insertNamed(ctx context.Context, r *api.Request, k *kind, d doc, taken string) (doc, error) {
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		if err := k.insert(tx, clone(d)); err != nil {
			if db.IsConflict(err, "") {
				return nil, conflict(k.singular, taken)
			}
			return nil, err
		}
		got, err := k.get(tx, str(d, "id"))
		if err != nil {
			return nil, err
		}
		return k.member(s, r, got), nil
	})
}

// serviceRef is a service provider as tokens show it.
type serviceRef struct {
	AuthURL string `json:"auth_url"`
	ID      string `json:"id"`
	SPURL   string `json:"sp_url"`
}

func (s *Service) enabledServiceProviders(ctx context.Context) ([]serviceRef, error) {
	return recall(ctx, s, nil, "service providers", func(l []serviceRef) int { return 200 * (len(l) + 1) }, func(tx *db.Tx) ([]serviceRef, error) {
		return db.All(tx, func(r db.Row) (v serviceRef, err error) { err = r.Scan(&v.AuthURL, &v.ID, &v.SPURL); return v, err },
			`SELECT auth_url, id, sp_url FROM identity_service_providers WHERE enabled = TRUE ORDER BY id`)
	})
}

// protocolBody is a protocol as upstream shows it: fully in lists, without what it belongs to by itself, with links that lead to the wrong places
// (keystone/api/os_federation.py, _IdentityProvidersProtocolsResourceBase).
func protocolBody(r *api.Request, p protocol, whole bool) doc {
	d := doc{"id": p.id, "mapping_id": p.mapping, "links": doc{"self": base(r) + "/protocols/" + p.id, "identity_provider": base(r) + "/" + p.provider}}
	if whole {
		d["idp_id"], d["remote_id_attribute"] = p.provider, p.remoteID
	}
	return d
}

func (s *Service) listProtocols(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	if err := r.Enforce("identity:list_protocols", policy.Map{}); err != nil {
		return nil, err
	}
	list, err := inRead(ctx, s, func(tx *db.Tx) ([]doc, error) {
		all, err := readProtocols(tx, (&db.Where{}).Add("idp_id = ?", r.Path("idp_id")))
		out := []doc{}
		for _, p := range all {
			out = append(out, protocolBody(r, p, true))
		}
		return out, err
	})
	if err != nil {
		return nil, err
	}
	return s.collection(r, "protocols", list)
}

func (s *Service) showProtocol(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	if err := r.Enforce("identity:get_protocol", policy.Map{}); err != nil {
		return nil, err
	}
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		p, err := getProtocol(tx, r.Path("idp_id"), r.Path("protocol_id"))
		return doc{"protocol": protocolBody(r, p, false)}, err
	})
}

func (s *Service) createProtocol(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	if err := r.Enforce("identity:create_protocol", policy.Map{}); err != nil {
		return nil, err
	}
	d, err := checked(s.fed.protocolCreate, memberOf(in, "protocol"))
	if err != nil {
		return nil, err
	}
	p := protocol{provider: r.Path("idp_id"), id: r.Path("protocol_id"), mapping: str(d, "mapping_id"), remoteID: d["remote_id_attribute"]}
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		if err := s.insertProtocol(tx, p); err != nil {
			return nil, err
		}
		return doc{"protocol": protocolBody(r, p, false)}, nil
	})
}

func (s *Service) updateProtocol(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	if err := r.Enforce("identity:update_protocol", policy.Map{}); err != nil {
		return nil, err
	}
	d, err := checked(s.fed.protocolUpdate, memberOf(in, "protocol"))
	if err != nil {
		return nil, err
	}
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		p, err := s.changeProtocol(tx, r.Path("idp_id"), r.Path("protocol_id"), d)
		return doc{"protocol": protocolBody(r, p, false)}, err
	})
}

func (s *Service) deleteProtocol(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	if err := r.Enforce("identity:delete_protocol", policy.Map{}); err != nil {
		return api.None{}, err
	}
	return api.None{}, s.write(ctx, func(tx *db.Tx) error { return removeProtocol(tx, r.Path("idp_id"), r.Path("protocol_id")) })
}
