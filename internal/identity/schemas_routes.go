package identity

import (
	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
)

// Since 2025.1 many of keystone's routes have a schema of their own for body and query string, which is asked before the policy and words
// its errors in another way (keystone/api/validation). The older schemas (schemas.go) come after it, where upstream has both.

// routeSchema is what a route asks of its requests.
type routeSchema struct {
	route       string // METHOD PATH
	body, query *schema.Schema
}

// withSchemas adds them to the routes.
func withSchemas(routes []api.Route) []api.Route {
	at := map[string]routeSchema{}
	for _, group := range [][]routeSchema{projectSchemas(), peopleSchemas(), catalogSchemas(), delegationSchemas()} {
		for _, s := range group {
			at[s.route] = s
		}
	}
	for i := range routes {
		s, ok := at[routes[i].Method+" "+routes[i].Path]
		if !ok {
			continue
		}
		delete(at, s.route)
		if s.body != nil {
			api.Body(s.body)(&routes[i])
		}
		if s.query != nil {
			api.Query(s.query)(&routes[i])
		}
	}
	for route := range at {
		panic("a schema for no route: " + route)
	}
	return routes
}

// looseBool is a boolean, or a word for one.
func looseBool() *schema.Schema {
	return schema.Types("boolean", "string", "null").Enum(true, "True", "TRUE", "true", false, "False", "FALSE", "false", "", "1", "0", "y", "Y", "n", "N", "on", "ON", "off", "OFF", "yes", "no")
}

func idOrNull() *schema.Schema {
	return schema.Types("string", "null").Len(1, 64).Pattern("^[a-zA-Z0-9-]+$")
}

func textOrNull() *schema.Schema { return schema.Types("string", "null") }

func regionOrNull() *schema.Schema { return textOrNull().Len(1, 255) }

func tagList() *schema.Schema {
	return schema.Array(schema.Str().Len(1, 255).Pattern("^[^,/]*$")).MaxItems(80).Unique()
}

// paged adds what lists take.
func paged(props ...schema.Property) *schema.Schema {
	return schema.Object(append(props, schema.P("marker", schema.Str()), schema.P("limit", schema.Types("integer", "string")))...)
}

// projectSchemas are those of domains and projects (keystone/resource/schema.py).
func projectSchemas() []routeSchema {
	tags, shortName := tagList(), schema.Str().Len(1, 64).Pattern(`[\S]+`)
	return []routeSchema{
		{route: "POST /v3/projects", body: schema.Object(schema.P("project", schema.Object(schema.P("description", textOrNull()), schema.P("domain_id", idOrNull()),
			schema.P("enabled", looseBool()), schema.P("is_domain", looseBool()), schema.P("parent_id", idOrNull()), schema.P("name", shortName),
			schema.P("tags", tags), schema.P("options", immutableOption())).Required("name"))).Closed()},
		{route: "PATCH /v3/projects/{project_id}", body: schema.Object(schema.P("project", schema.Object(schema.P("description", textOrNull()), schema.P("enabled", looseBool()), schema.P("name", shortName),
			schema.P("options", immutableOption()), schema.P("tags", tags)))).Closed()},
		{route: "GET /v3/projects", query: paged(schema.P("domain_id", schema.KeystoneID()), schema.P("enabled", looseBool()), schema.P("name", shortName),
			schema.P("parent_id", schema.UUID()), schema.P("is_domain", looseBool()), schema.P("tags", schema.Str()), schema.P("tags-any", schema.Str()),
			schema.P("not-tags", schema.Str()), schema.P("not-tags-any", schema.Str()))},
		{route: "PUT /v3/projects/{project_id}/tags", body: schema.Object(schema.P("tags", schema.Array(schema.Str().Len(1, 255).Pattern("^[^,/]*$")))).Closed()},
		{route: "POST /v3/domains", body: schema.Object(schema.P("domain", schema.Object(schema.P("explicit_domain_id", schema.KeystoneID()), schema.P("description", textOrNull()),
			schema.P("enabled", looseBool()), schema.P("name", shortName), schema.P("options", immutableOption()),
			schema.P("tags", tags)).Required("name"))).Required("domain").Closed()},
		{route: "PATCH /v3/domains/{domain_id}", body: schema.Object(schema.P("domain", schema.Object(schema.P("description", textOrNull()), schema.P("enabled", looseBool()), schema.P("name", shortName),
			schema.P("options", immutableOption()), schema.P("tags", tags)).MinProps(1))).Required("domain").Closed()},
		{route: "GET /v3/domains", query: paged(schema.P("enabled", looseBool()), schema.P("name", shortName))},
	}
}

// peopleSchemas are those of users, groups and roles (keystone/identity/schema.py, keystone/assignment/schema.py).
func peopleSchemas() []routeSchema {
	federated := schema.Array(schema.Object(schema.P("idp_id", schema.Str()),
		schema.P("protocols", schema.Array(schema.Object(schema.P("protocol_id", schema.Str()), schema.P("unique_id", schema.Str())).Required("protocol_id", "unique_id")).MinItems(1))).Required("idp_id", "protocols"))
	links := schema.Object(schema.P("next", textOrNull()), schema.P("previous", textOrNull()), schema.P("self", schema.Str())).Required("self").Closed()
	return []routeSchema{
		{route: "POST /v3/users", body: schema.Object(schema.P("user", schema.Object(schema.P("password", textOrNull()), schema.P("id", schema.Str()),
			schema.P("default_project_id", idOrNull()), schema.P("description", textOrNull()), schema.P("domain_id", schema.KeystoneID()),
			schema.P("enabled", looseBool()), schema.P("federated", federated), schema.P("links", links), schema.P("name", schema.KeystoneName()),
			schema.P("password_expires_at", textOrNull().Format("date-time")), schema.P("options", userOptions())).Required("name"))).Required("user").Closed()},
		{route: "PATCH /v3/users/{user_id}", body: schema.Object(schema.P("user", schema.Object(schema.P("password", textOrNull()), schema.P("id", schema.Str()),
			schema.P("default_project_id", idOrNull()), schema.P("description", textOrNull()), schema.P("enabled", looseBool()),
			schema.P("federated", federated), schema.P("links", links), schema.P("name", schema.KeystoneName()),
			schema.P("password_expires_at", textOrNull().Format("date-time")), schema.P("options", userOptions())).MinProps(1))).Required("user").Closed()},
		{route: "GET /v3/users", query: paged(schema.P("domain_id", schema.KeystoneID()), schema.P("enabled", looseBool()), schema.P("idp_id", schema.Str()),
			schema.P("name", schema.KeystoneName()), schema.P("password_expires_at", schema.Str()), schema.P("protocol_id", schema.Str()),
			schema.P("unique_id", schema.Str()), schema.P("sort_key", schema.Str()), schema.P("sort_dir", schema.Str().Enum("asc", "desc")))},
		{route: "POST /v3/groups", body: schema.Object(schema.P("group", schema.Object(schema.P("description", textOrNull()), schema.P("domain_id", schema.KeystoneID()),
			schema.P("id", schema.Str()), schema.P("name", schema.KeystoneName())).Required("name"))).Required("group").Closed()},
		{route: "PATCH /v3/groups/{group_id}", body: schema.Object(schema.P("group", schema.Object(schema.P("description", textOrNull()), schema.P("id", schema.Str()),
			schema.P("name", schema.KeystoneName())).MinProps(1))).Required("group").Closed()},
		{route: "GET /v3/groups", query: paged(schema.P("domain_id", schema.KeystoneID()), schema.P("name", schema.KeystoneName()), schema.P("sort_key", schema.Str()),
			schema.P("sort_dir", schema.Str().Enum("asc", "desc")))}, // open: see "inexact" in differences.md
		{route: "POST /v3/roles", body: schema.Object(schema.P("role", schema.Object(schema.P("name", schema.KeystoneName()), schema.P("description", textOrNull()),
			schema.P("domain_id", idOrNull()), schema.P("options", immutableOption())).Required("name"))).Required("role").Closed()},
		{route: "PATCH /v3/roles/{role_id}", body: schema.Object(schema.P("role", schema.Object(schema.P("name", schema.KeystoneName()), schema.P("description", textOrNull()),
			schema.P("domain_id", idOrNull()), schema.P("options", immutableOption())).MinProps(1))).Required("role").Closed()},
		{route: "GET /v3/roles", query: schema.Object(schema.P("name", schema.KeystoneName()), schema.P("domain_id", schema.KeystoneID()))},
		{route: "GET /v3/role_assignments", query: schema.Object(schema.P("effective", schema.Any()), schema.P("include_names", schema.Any()), schema.P("include_subtree", schema.Any()),
			schema.P("group.id", schema.KeystoneID()), schema.P("role.id", schema.KeystoneID()), schema.P("scope.system", schema.Any()),
			schema.P("scope.domain.id", schema.KeystoneID()), schema.P("scope.project.id", schema.KeystoneID()), schema.P("user.id", schema.Str()),
			schema.P("scope.OS-INHERIT:inherited_to", schema.Any())).Needs("include_subtree", "scope.project.id").OneOf(schema.Any().Required("user.id"), schema.Any().Required("group.id"), schema.AllOf(schema.Not(schema.Any().Required("user.id")), schema.Not(schema.Any().Required("group.id")))).Not(schema.Any().Required("effective", "group")).Closed()},
	}
}

// catalogSchemas are those of services, endpoints and limits (keystone/catalog/schema.py, keystone/limit/schema.py).
func catalogSchemas() []routeSchema {
	iface, amount := schema.Str().Enum("admin", "internal", "public"), schema.Int().Range(-1, 2147483647)
	return []routeSchema{
		{route: "POST /v3/services", body: schema.Object(schema.P("service", schema.Object(schema.P("enabled", schema.Bool()), schema.P("type", schema.Str().Len(1, 255)),
			schema.P("name", schema.Str().Len(1, 255))).Required("type")))},
		{route: "PATCH /v3/services/{service_id}", body: schema.Object(schema.P("service", schema.Object(schema.P("enabled", schema.Bool()), schema.P("type", schema.Str().Len(1, 255)),
			schema.P("name", schema.Str().Len(1, 255))).MinProps(1))).Required("service")},
		{route: "POST /v3/endpoints", body: schema.Object(schema.P("endpoint", schema.Object(schema.P("id", schema.Str()), schema.P("enabled", schema.Bool()), schema.P("interface", iface),
			schema.P("region_id", textOrNull()), schema.P("region", textOrNull()), schema.P("service_id", schema.Str()), schema.P("url", schema.KeystoneURL()),
			schema.P("name", schema.Str()), schema.P("description", textOrNull())).Required("interface", "service_id", "url"))).Closed()},
		{route: "PATCH /v3/endpoints/{endpoint_id}", body: schema.Object(schema.P("endpoint", schema.Object(schema.P("enabled", schema.Bool()), schema.P("interface", iface),
			schema.P("region_id", textOrNull()), schema.P("region", textOrNull()), schema.P("service_id", schema.Str()), schema.P("url", schema.KeystoneURL()),
			schema.P("name", schema.Str()), schema.P("description", textOrNull())).MinProps(1))).Required("endpoint").Closed()},
		{route: "GET /v3/endpoints", query: schema.Object(schema.P("interface", iface), schema.P("region_id", textOrNull()), schema.P("service_id", schema.Str())).Closed()},
		{route: "POST /v3/OS-EP-FILTER/endpoint_groups", body: schema.Object(schema.P("endpoint_group", schema.Object(schema.P("description", textOrNull()),
			schema.P("filters", schema.Object(schema.P("interface", iface), schema.P("service_id", schema.Str()), schema.P("region_id", textOrNull()),
				schema.P("enabled", schema.Bool()))), schema.P("name", schema.KeystoneName())).Required("name", "filters").Closed())).Closed()},
		{route: "PATCH /v3/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}", body: schema.Object(schema.P("endpoint_group", schema.Object(schema.P("description", textOrNull()),
			schema.P("filters", schema.Object(schema.P("interface", iface), schema.P("service_id", schema.Str()), schema.P("region_id", textOrNull()),
				schema.P("enabled", schema.Bool()))), schema.P("name", schema.KeystoneName())).MinProps(1).Closed())).Required("endpoint_group").Closed()},
		{route: "GET /v3/OS-EP-FILTER/endpoint_groups", query: schema.Object(schema.P("name", schema.KeystoneName())).Closed()},
		{route: "POST /v3/registered_limits", body: schema.Object(schema.P("registered_limits", schema.Array(schema.Object(schema.P("service_id", schema.UUID()), schema.P("region_id", regionOrNull()),
			schema.P("resource_name", schema.KeystoneName()), schema.P("default_limit", amount),
			schema.P("description", textOrNull())).Closed().Required("service_id", "resource_name", "default_limit")).MinItems(1))).Required("registered_limits").Closed()},
		{route: "PATCH /v3/registered_limits/{id}", body: schema.Object(schema.P("registered_limit", schema.Object(schema.P("service_id", schema.UUID()), schema.P("region_id", regionOrNull()),
			schema.P("resource_name", schema.KeystoneName()), schema.P("default_limit", amount),
			schema.P("description", textOrNull())).Closed())).Closed().Required("registered_limit")},
		{route: "GET /v3/registered_limits", query: schema.Object(schema.P("service_id", schema.UUID()), schema.P("region_id", regionOrNull()), schema.P("resource_name", schema.KeystoneName())).Closed()},
		{route: "POST /v3/limits", body: schema.Object(schema.P("limits", schema.Array(schema.Object(schema.P("project_id", idOrNull()), schema.P("domain_id", idOrNull()),
			schema.P("resource_name", schema.KeystoneName()), schema.P("region_id", regionOrNull()), schema.P("service_id", schema.UUID()),
			schema.P("resource_limit", amount),
			schema.P("description", textOrNull())).Required("service_id", "resource_name", "resource_limit").OneOf(schema.Any().Required("service_id", "resource_name", "resource_limit", "domain_id"), schema.Any().Required("service_id", "resource_name", "resource_limit", "project_id")).Closed()).MinItems(1))).Required("limits").Closed()},
		{route: "PATCH /v3/limits/{limit_id}", body: schema.Object(schema.P("limit", schema.Object(schema.P("resource_limit", amount),
			schema.P("description", textOrNull())).Closed())).Closed().Required("limit")},
		{route: "GET /v3/limits", query: schema.Object(schema.P("service_id", schema.UUID()), schema.P("region_id", regionOrNull()), schema.P("resource_name", schema.KeystoneName()),
			schema.P("project_id", schema.KeystoneID()), schema.P("domain_id", schema.KeystoneID())).Closed()},
	}
}

// delegationSchemas are those of trusts, credentials and federation (keystone/{trust,credential,application_credential,federation}/schema.py).
func delegationSchemas() []routeSchema {
	return []routeSchema{
		{route: "POST /v3/OS-TRUST/trusts", body: schema.Object(schema.P("trust", schema.Object(schema.P("trustor_user_id", schema.Str()), schema.P("trustee_user_id", schema.Str()),
			schema.P("impersonation", schema.Bool()), schema.P("project_id", textOrNull().Format("uuid")),
			schema.P("remaining_uses", schema.Types("integer", "null").Min(1)), schema.P("expires_at", schema.Types("null", "string")),
			schema.P("allow_redelegation", schema.Types("boolean", "null")), schema.P("redelegation_count", schema.Types("integer", "null").Min(0)),
			schema.P("redelegated_trust_id", textOrNull()),
			schema.P("roles", roleList())).Required("trustor_user_id", "trustee_user_id", "impersonation"))).Closed().Required("trust")},
		{route: "GET /v3/OS-TRUST/trusts", query: schema.Object(schema.P("trustor_user_id", schema.Str()), schema.P("trustee_user_id", schema.Str())).Closed()},
		{route: "GET /v3/OS-TRUST/trusts/{trust_id}", query: schema.Object().Closed()},
		{route: "POST /v3/credentials", body: schema.Object(schema.P("credential", schema.Object(schema.P("id", schema.Str()), schema.P("blob", schema.Str()),
			schema.P("project_id", textOrNull()), schema.P("type", schema.Str()),
			schema.P("user_id", schema.UUID())).Required("blob", "type", "user_id").IfThen(schema.Any().Props(schema.P("type", schema.Enum("ec2"))), schema.Any().Required("blob", "type", "user_id", "project_id")))).Required("credential")},
		{route: "PATCH /v3/credentials/{credential_id}", body: schema.Object(schema.P("credential", schema.Object(schema.P("blob", schema.Str())).Closed().Required("blob"))).Required("credential")},
		{route: "GET /v3/credentials", query: schema.Object(schema.P("user_id", schema.UUID()), schema.P("type", schema.Str()))},
		{route: "POST /v3/users/{user_id}/application_credentials", body: schema.Object(schema.P("application_credential", schema.Object(schema.P("id", schema.Str()), schema.P("secret", textOrNull()),
			schema.P("name", schema.KeystoneName()), schema.P("description", textOrNull()), schema.P("expires_at", textOrNull()),
			schema.P("project_id", schema.Str()), schema.P("access_rules", schema.Array(schema.Object(schema.P("id", schema.KeystoneID()),
				schema.P("path", schema.Str().Len(0, 225).Pattern(`^/\.*`)), schema.P("service", schema.KeystoneID()),
				schema.P("method", schema.Str().Enum("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"))))), schema.P("unrestricted", schema.Types("boolean", "null")),
			schema.P("system", textOrNull()), schema.P("roles", roleList())).Closed().Required("name"))).Required("application_credential").Closed()},
		{route: "GET /v3/users/{user_id}/application_credentials", query: schema.Object(schema.P("name", schema.Str())).Closed()},
		{route: "GET /v3/users/{user_id}/access_rules", query: schema.Object().Closed()},
		{route: "GET /v3/users/{user_id}/access_rules/{access_rule_id}", query: schema.Object().Closed()},
		{route: "PUT /v3/OS-FEDERATION/identity_providers/{idp_id}", body: schema.Object(schema.P("identity_provider", schema.Object(schema.P("enabled", looseBool()), schema.P("description", textOrNull()),
			schema.P("authorization_ttl", schema.Types("integer", "null").Min(0)),
			schema.P("remote_ids", schema.Types("array", "null").Items(schema.Str()).Unique()), schema.P("domain_id", idOrNull())).Closed())).Closed()},
		{route: "PATCH /v3/OS-FEDERATION/identity_providers/{idp_id}", body: schema.Object(schema.P("identity_provider", schema.Object(schema.P("enabled", looseBool()), schema.P("description", textOrNull()),
			schema.P("authorization_ttl", schema.Types("integer", "null").Min(0)),
			schema.P("remote_ids", schema.Types("array", "null").Items(schema.Str()).Unique())).Closed().MinProps(1))).Required("identity_provider")},
		{route: "GET /v3/OS-FEDERATION/identity_providers", query: schema.Object(schema.P("id", schema.Str()), schema.P("enabled", looseBool()))},
		{route: "PUT /v3/OS-FEDERATION/service_providers/{service_provider_id}", body: schema.Object(schema.P("service_provider", schema.Object(schema.P("auth_url", schema.KeystoneURL()), schema.P("sp_url", schema.KeystoneURL()),
			schema.P("description", textOrNull()), schema.P("enabled", looseBool()),
			schema.P("relay_state_prefix", textOrNull())).Required("auth_url", "sp_url").Closed())).Required("service_provider").Closed()},
		{route: "PATCH /v3/OS-FEDERATION/service_providers/{service_provider_id}", body: schema.Object(schema.P("service_provider", schema.Object(schema.P("auth_url", schema.KeystoneURL()), schema.P("sp_url", schema.KeystoneURL()),
			schema.P("description", textOrNull()), schema.P("enabled", looseBool()),
			schema.P("relay_state_prefix", textOrNull())).Closed().MinProps(1))).Required("service_provider").Closed()},
		{route: "GET /v3/OS-FEDERATION/service_providers", query: schema.Object(schema.P("id", schema.Str()), schema.P("enabled", looseBool())).Closed()},
	}
}
