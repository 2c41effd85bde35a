package identity

import "strings"

// The kinds of resources. Members that keystone leaves out when empty are removed by wire.
func projectKind() *kind {
	return &kind{singular: "project", plural: "projects", path: "projects", table: "identity_projects", noun: "project", extra: true,
		columns: []column{{"name", text}, {"domain_id", nullText}, {"parent_id", nullText}, {"is_domain", flag}, {"enabled", flag},
			{"description", nullVal}, {"tags", value}, {"options", value}}}
}

// domainKind reads the rows of projects that act as domains.
func domainKind() *kind {
	return &kind{singular: "domain", plural: "domains", path: "domains", table: "identity_projects", noun: "domain", extra: true,
		columns: []column{{"name", text}, {"is_domain", flag}, {"enabled", flag}, {"description", nullVal}, {"tags", value}, {"options", value}},
		wire:    func(_ *Service, d doc) { delete(d, "is_domain") }}
}

func userKind() *kind {
	return &kind{singular: "user", plural: "users", path: "users", table: "identity_users", noun: "user", extra: true,
		columns: []column{{"name", text}, {"domain_id", text}, {"enabled", flag}, {"default_project_id", nullText}, {"password_expires_at", when}, {"options", value}, {"federated_name", text}},
		loaded: func(d doc) {
			if name := str(d, "federated_name"); name != "" {
				d["name"] = name
			}
			delete(d, "federated_name")
		},
		wire: func(_ *Service, d doc) {
			if d["default_project_id"] == nil {
				delete(d, "default_project_id")
			}
		}}
}

func groupKind() *kind {
	return &kind{singular: "group", plural: "groups", path: "groups", table: "identity_groups", noun: "group", extra: true,
		columns: []column{{"name", text}, {"domain_id", text}, {"description", text}, {"directory_name", text}},
		loaded: func(d doc) {
			if name := str(d, "directory_name"); name != "" {
				d["name"] = name
			}
			delete(d, "directory_name")
		}}
}

// userName and groupName are the names that users and groups show, in SQL.
const (
	userName  = "CASE WHEN federated_name = '' THEN name ELSE federated_name END"
	groupName = "CASE WHEN directory_name = '' THEN name ELSE directory_name END"
)

func roleKind() *kind {
	return &kind{singular: "role", plural: "roles", path: "roles", table: "identity_roles", noun: "role", extra: true,
		columns: []column{{"name", text}, {"domain_id", nullText}, {"description", nullText}, {"options", value}}}
}

func regionKind() *kind {
	return &kind{singular: "region", plural: "regions", path: "regions", table: "identity_regions", noun: "region", extra: true,
		columns: []column{{"description", text}, {"parent_region_id", nullText}}}
}

func serviceKind() *kind {
	return &kind{singular: "service", plural: "services", path: "services", table: "identity_services", noun: "service", extra: true,
		columns: []column{{"type", text}, {"name", text}, {"enabled", flag}}}
}

func endpointKind() *kind {
	return &kind{singular: "endpoint", plural: "endpoints", path: "endpoints", table: "identity_endpoints", noun: "endpoint", extra: true,
		columns: []column{{"interface", text}, {"region_id", nullText}, {"service_id", text}, {"url", text}, {"enabled", flag}},
		wire: func(s *Service, d doc) {
			d["region"] = d["region_id"]
			d["url"] = strings.Replace(str(d, "url"), publicMark, s.o.PublicEndpoint, 1)
		}}
}

func endpointGroupKind() *kind {
	return &kind{singular: "endpoint_group", plural: "endpoint_groups", path: "OS-EP-FILTER/endpoint_groups", table: "identity_endpoint_groups", noun: "Endpoint Group",
		columns: []column{{"name", text}, {"description", nullText}, {"filters", value}}}
}

func policyKind() *kind {
	return &kind{singular: "policy", plural: "policies", path: "policies", table: "identity_policies", noun: "policy", extra: true,
		columns: []column{{"type", text}, {"blob", text}}}
}

func credentialKind() *kind {
	return &kind{singular: "credential", plural: "credentials", path: "credentials", table: "identity_credentials", noun: "credential",
		columns: []column{{"user_id", text}, {"project_id", nullText}, {"type", text}, {"blob", text}}}
}

func trustKind() *kind {
	return &kind{singular: "trust", plural: "trusts", path: "OS-TRUST/trusts", table: "identity_trusts", noun: "trust", extra: true,
		columns: []column{{"trustor_user_id", text}, {"trustee_user_id", text}, {"project_id", nullText}, {"impersonation", flag}, {"deleted_at", when},
			{"expires_at", when}, {"remaining_uses", nullNum}, {"redelegated_trust_id", nullText}, {"redelegation_count", number}, {"roles", value}}}
}

func appCredKind() *kind {
	return &kind{singular: "application_credential", plural: "application_credentials", path: "application_credentials", table: "identity_application_credentials", noun: "Application Credential",
		columns: []column{{"name", text}, {"description", nullText}, {"user_id", text}, {"project_id", nullText}, {"expires_at", when}, {"unrestricted", nullVal}, {"roles", value}, {"access_rules", nullVal}}}
}

func accessRuleKind() *kind {
	return &kind{singular: "access_rule", plural: "access_rules", path: "access_rules", table: "identity_access_rules", noun: "Access Rule", byAge: true,
		columns: []column{{"user_id", text}, {"service", nullText}, {"path", nullText}, {"method", nullText}}}
}

func registeredLimitKind() *kind {
	return &kind{singular: "registered_limit", plural: "registered_limits", path: "registered_limits", table: "identity_registered_limits", noun: "registered limit for",
		columns: []column{{"service_id", text}, {"region_id", nullText}, {"resource_name", text}, {"default_limit", number}, {"description", nullText}}}
}

func limitKind() *kind {
	return &kind{singular: "limit", plural: "limits", path: "limits", table: "identity_limits", noun: "limit for",
		columns: []column{{"project_id", nullText}, {"domain_id", nullText}, {"service_id", text}, {"region_id", nullText}, {"resource_name", text}, {"resource_limit", number}, {"description", nullText}}}
}

func consumerKind() *kind {
	return &kind{singular: "consumer", plural: "consumers", path: "OS-OAUTH1/consumers", table: "identity_consumers", noun: "consumer", extra: true,
		columns: []column{{"description", nullText}, {"secret", text}}}
}

// kinds are all of them, made once per Service.
type kinds struct {
	project, domain, user, group, role, region, service, endpoint, endpointGroup, policy, credential, trust, appCred, accessRule, registeredLimit, limit, consumer *kind
}

func newKinds() kinds {
	return kinds{projectKind(), domainKind(), userKind(), groupKind(), roleKind(), regionKind(), serviceKind(), endpointKind(), endpointGroupKind(), policyKind(),
		credentialKind(), trustKind(), appCredKind(), accessRuleKind(), registeredLimitKind(), limitKind(), consumerKind()}
}
