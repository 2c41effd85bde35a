package identity

import (
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/identity/mapping"
)

// federationKinds are the resources of OS-FEDERATION that have an id of their own, and the forms of their bodies.
type federationKinds struct {
	provider, mapping, serviceProvider *kind

	providerCreate, providerUpdate, protocolCreate, protocolUpdate, serviceProviderCreate, serviceProviderUpdate *schema.Schema
	structure                                                                                                    *mapping.Structure
}

func newFederationKinds() federationKinds {
	f := federationKinds{
		provider: &kind{singular: "identity_provider", plural: "identity_providers", path: "OS-FEDERATION/identity_providers", table: "identity_providers", noun: "Identity Provider",
			columns: []column{{"domain_id", text}, {"enabled", flag}, {"description", nullVal}, {"authorization_ttl", nullNum}, {"remote_ids", value}},
			listed: func(d doc) {
				links := object(d, "links")
				links["protocols"] = str(links, "self") + "/protocols"
			}},
		mapping: &kind{singular: "mapping", plural: "mappings", path: "OS-FEDERATION/mappings", table: "identity_mappings", noun: "mapping",
			columns: []column{{"rules", value}, {"schema_version", text}}},
		serviceProvider: &kind{singular: "service_provider", plural: "service_providers", path: "OS-FEDERATION/service_providers", table: "identity_service_providers", noun: "Service Provider",
			columns: []column{{"enabled", flag}, {"description", nullVal}, {"auth_url", text}, {"sp_url", text}, {"relay_state_prefix", value}}},
		structure: mapping.NewStructure(),
	}
	// keystone/federation/schema.py
	provider := schema.Object(schema.P("enabled", boolean()), schema.P("description", nullDescription()), schema.P("authorization_ttl", schema.Types("integer", "null").Min(0)),
		schema.P("remote_ids", schema.Types("array", "null").Items(schema.Str()).Unique()))
	f.providerCreate = provider.Extend(schema.P("domain_id", schema.KeystoneID().Nullable())).Closed()
	f.providerUpdate = provider.MinProps(1).Closed()
	protocol := schema.Object(schema.P("mapping_id", schema.Str().Len(1, 64).Pattern(`^[a-zA-Z0-9-_]+$`)), schema.P("remote_id_attribute", schema.Str().MaxLen(64)))
	f.protocolCreate, f.protocolUpdate = protocol.Required("mapping_id").Closed(), protocol.MinProps(1).Closed()
	sp := schema.Object(schema.P("auth_url", schema.KeystoneURL()), schema.P("sp_url", schema.KeystoneURL()), schema.P("description", nullDescription()),
		schema.P("enabled", boolean()), schema.P("relay_state_prefix", nullDescription()))
	f.serviceProviderCreate, f.serviceProviderUpdate = sp.Required("auth_url", "sp_url").Closed(), sp.MinProps(1).Closed()
	return f
}
