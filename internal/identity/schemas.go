package identity

import "github.com/hanok-cloud/hanok/internal/api/schema"

// schemas are the bodies' schemas, made once.
type schemas struct {
	auth, projectCreate, projectUpdate, tag, tags, domainCreate, domainUpdate, userCreate, userUpdate, passwordChange, groupCreate, groupUpdate,
	roleCreate, roleUpdate, appCred, trust, credentialCreate, credentialUpdate, regionCreate, regionUpdate, serviceCreate, serviceUpdate,
	endpointCreate, endpointUpdate, endpointGroupCreate, endpointGroupUpdate, policyCreate, policyUpdate,
	registeredLimitCreate, registeredLimitUpdate, limitCreate, limitUpdate, consumerCreate, consumerUpdate *schema.Schema
}

// boolean prints as keystone's does, whose list of values got a null when another property was made nullable.
func boolean() *schema.Schema { return schema.Bool().Enum(true, false, nil) }

func nullBoolean() *schema.Schema { return schema.Types("boolean", "null").Enum(true, false, nil) }

func nullDescription() *schema.Schema { return schema.Types("string", "null") }

func options(props ...schema.Property) *schema.Schema {
	return schema.Object().Props(props...).Closed()
}

func immutableOption() *schema.Schema { return options(schema.P("immutable", nullBoolean())) }

func userOptions() *schema.Schema {
	rules := schema.Types("array", "null").Items(schema.Array(schema.Str()).MinItems(1).Unique()).Unique()
	return options(schema.P("ignore_change_password_upon_first_use", nullBoolean()), schema.P("ignore_password_expiry", nullBoolean()),
		schema.P("ignore_lockout_failure_attempts", nullBoolean()), schema.P("lock_password", nullBoolean()), schema.P("ignore_user_inactivity", nullBoolean()),
		schema.P("multi_factor_auth_rules", rules), schema.P("multi_factor_auth_enabled", nullBoolean()))
}

// roleList is how application credentials and trusts name roles.
func roleList() *schema.Schema {
	return schema.Array(schema.Object(schema.P("id", schema.KeystoneID()), schema.P("name", schema.KeystoneName())).MinProps(1).MaxProps(1).Closed())
}

func newSchemas() schemas {
	sc := schemas{auth: authSchema()}
	sc.people()
	sc.delegations()
	sc.catalogs()
	return sc
}

// people are the schemas of keystone/{resource,identity,assignment}/schema.py.
func (sc *schemas) people() {
	shortName := schema.Str().Len(1, 64).Pattern(`[\S]+`)
	name := schema.KeystoneName()
	sc.tag = schema.Str().Len(1, 255).Pattern(`^[^,/]*$`)
	sc.tags = schema.Array(sc.tag).Required().MaxItems(80).Unique()
	project := schema.Object(schema.P("description", nullDescription()), schema.P("domain_id", schema.KeystoneID().Nullable()), schema.P("enabled", boolean()), schema.P("is_domain", boolean()),
		schema.P("parent_id", schema.KeystoneID().Nullable()), schema.P("name", shortName), schema.P("tags", sc.tags), schema.P("options", immutableOption()))
	sc.projectCreate, sc.projectUpdate = project.Required("name").Open(), project.Open()
	domain := schema.Object(schema.P("description", nullDescription()), schema.P("enabled", boolean()), schema.P("name", shortName), schema.P("tags", sc.tags))
	sc.domainCreate, sc.domainUpdate = domain.Required("name").Open(), domain.MinProps(1).Open()
	protocol := schema.Object(schema.P("protocol_id", schema.Str()), schema.P("unique_id", schema.Str())).Required("protocol_id", "unique_id")
	federated := schema.Array(schema.Object(schema.P("idp_id", schema.Str()), schema.P("protocols", schema.Array(protocol).MinItems(1))).Required("idp_id", "protocols"))
	user := schema.Object(schema.P("default_project_id", schema.KeystoneID().Nullable()), schema.P("description", nullDescription()), schema.P("domain_id", schema.KeystoneID()), schema.P("enabled", boolean()),
		schema.P("federated", federated), schema.P("name", name), schema.P("password", schema.Types("string", "null")), schema.P("options", userOptions()))
	sc.userCreate, sc.userUpdate = user.Required("name").Open(), user.MinProps(1).Open()
	sc.passwordChange = schema.Object(schema.P("original_password", schema.Str()), schema.P("password", schema.Str())).Required("original_password", "password").Closed()
	group := schema.Object(schema.P("description", nullDescription()), schema.P("domain_id", schema.KeystoneID()), schema.P("name", name))
	sc.groupCreate, sc.groupUpdate = group.Required("name").Open(), group.MinProps(1).Open()
	role := schema.Object(schema.P("name", name), schema.P("description", nullDescription()), schema.P("options", immutableOption()))
	sc.roleCreate, sc.roleUpdate = role.Required("name").Open(), role.MinProps(1).Open()
}

// delegations are the schemas of application credentials, trusts, credentials and OAuth consumers.
func (sc *schemas) delegations() {
	rule := schema.Object(schema.P("path", schema.Str().Len(0, 225).Pattern(`^\/.*`)), schema.P("method", schema.Str().Pattern(`^(POST|GET|HEAD|PATCH|PUT|DELETE)$`)),
		schema.P("service", schema.KeystoneID()), schema.P("id", schema.KeystoneID())).Closed()
	sc.appCred = schema.Object(schema.P("name", schema.KeystoneName()), schema.P("description", nullDescription()), schema.P("secret", schema.Types("null", "string")),
		schema.P("expires_at", schema.Types("null", "string")), schema.P("roles", roleList()), schema.P("unrestricted", boolean()), schema.P("access_rules", schema.Array(rule))).Required("name").Open()
	sc.trust = schema.Object(schema.P("trustor_user_id", schema.KeystoneExternalID()), schema.P("trustee_user_id", schema.KeystoneExternalID()), schema.P("impersonation", boolean()),
		schema.P("project_id", schema.KeystoneID().Nullable()), schema.P("remaining_uses", schema.Types("integer", "null").Min(1)), schema.P("expires_at", schema.Types("null", "string")),
		schema.P("allow_redelegation", schema.Types("boolean", "null")), schema.P("redelegation_count", schema.Types("integer", "null").Min(0)), schema.P("roles", roleList())).
		Required("trustor_user_id", "trustee_user_id", "impersonation").Open()
	ec2 := schema.Any().Set("title", "ec2 credential requires project_id").Required("blob", "type", "user_id", "project_id").Props(schema.P("type", schema.Enum("ec2")))
	other := schema.Any().Set("title", "non-ec2 credential does not require project_id").Required("blob", "type", "user_id").Props(schema.P("type", schema.Not(schema.Enum("ec2"))))
	sc.credentialCreate = schema.Object(schema.P("blob", schema.Str()), schema.P("project_id", schema.Str()), schema.P("type", schema.Str()), schema.P("user_id", schema.Str())).Open().OneOf(ec2, other)
	sc.credentialUpdate = schema.Object(schema.P("blob", schema.Str())).Closed().Required("blob")
	consumer := schema.Object(schema.P("description", nullDescription()))
	sc.consumerCreate = consumer.Open()
	sc.consumerUpdate = consumer.Not(schema.Any().Required("secret")).MinProps(1).Open()
}

// catalogs are the schemas of keystone/{catalog,policy,limit}/schema.py.
func (sc *schemas) catalogs() {
	region := schema.Object(schema.P("description", nullDescription().Set("description", "The resource description.")), schema.P("id", schema.Str()), schema.P("parent_region_id", schema.Types("string", "null")))
	sc.regionCreate, sc.regionUpdate = region.Open(), region.MinProps(1).Open()
	service := schema.Object(schema.P("enabled", boolean()), schema.P("name", schema.KeystoneName()), schema.P("type", schema.Str().Len(1, 255)))
	sc.serviceCreate, sc.serviceUpdate = service.Required("type").Open(), service.MinProps(1).Open()
	endpoint := schema.Object(schema.P("enabled", boolean()), schema.P("interface", schema.Str().Enum("admin", "internal", "public")), schema.P("region_id", nullDescription()), schema.P("region", nullDescription()),
		schema.P("service_id", schema.Str()), schema.P("url", schema.KeystoneURL()))
	sc.endpointCreate, sc.endpointUpdate = endpoint.Required("interface", "service_id", "url").Open(), endpoint.MinProps(1).Open()
	group := schema.Object(schema.P("description", nullDescription()), schema.P("filters", schema.Types("object")), schema.P("name", schema.KeystoneName()))
	sc.endpointGroupCreate, sc.endpointGroupUpdate = group.Required("name", "filters"), group.MinProps(1)
	policy := schema.Object(schema.P("blob", schema.Str()), schema.P("type", schema.Str().MaxLen(255)))
	sc.policyCreate, sc.policyUpdate = policy.Required("blob", "type").Open(), policy.MinProps(1).Open()
	amount := schema.Int().Range(-1, 2147483647)
	resource := schema.Str().Len(1, 255)
	registered := schema.Object(schema.P("service_id", schema.KeystoneID()), schema.P("region_id", schema.Types("null", "string")), schema.P("resource_name", resource), schema.P("default_limit", amount), schema.P("description", nullDescription())).Closed()
	sc.registeredLimitCreate, sc.registeredLimitUpdate = schema.Array(registered.Required("service_id", "resource_name", "default_limit")).MinItems(1), registered
	of := func(owner string) *schema.Schema {
		return schema.Any().Props(schema.P(owner, schema.KeystoneID()), schema.P("service_id", schema.KeystoneID()), schema.P("region_id", schema.Str()), schema.P("resource_name", resource),
			schema.P("resource_limit", amount), schema.P("description", nullDescription())).Required(owner, "service_id", "resource_name", "resource_limit").Closed()
	}
	sc.limitCreate = schema.Array(schema.Types("object").OneOf(of("project_id"), of("domain_id"))).MinItems(1)
	sc.limitUpdate = schema.Object(schema.P("resource_limit", amount), schema.P("description", nullDescription())).Closed()
}
