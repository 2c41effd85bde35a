package identity

// configOption is an option that a domain may have of its own.
type configOption struct {
	group, name string
	value       any // keystone's default
	secret      bool
}

// configOptions are the options of keystone/resource/core.py, DomainConfigManager, with keystone's defaults. What they
// mean stands in package conf.
func configOptions() []configOption {
	return []configOption{
		{"identity", "driver", "sql", false},
		{"identity", "list_limit", nil, false},
		{"ldap", "url", "ldap://localhost", false},
		{"ldap", "user", nil, false},
		{"ldap", "suffix", "cn=example,cn=com", false},
		{"ldap", "query_scope", "one", false},
		{"ldap", "page_size", 0, false},
		{"ldap", "alias_dereferencing", "default", false},
		{"ldap", "debug_level", nil, false},
		{"ldap", "chase_referrals", nil, false},
		{"ldap", "user_tree_dn", nil, false},
		{"ldap", "user_filter", nil, false},
		{"ldap", "user_objectclass", "inetOrgPerson", false},
		{"ldap", "user_id_attribute", "cn", false},
		{"ldap", "user_name_attribute", "sn", false},
		{"ldap", "user_mail_attribute", "mail", false},
		{"ldap", "user_description_attribute", "description", false},
		{"ldap", "user_pass_attribute", "userPassword", false},
		{"ldap", "user_enabled_attribute", "enabled", false},
		{"ldap", "user_enabled_invert", false, false},
		{"ldap", "user_enabled_mask", 0, false},
		{"ldap", "user_enabled_default", "True", false},
		{"ldap", "user_attribute_ignore", []any{"default_project_id"}, false},
		{"ldap", "user_default_project_id_attribute", nil, false},
		{"ldap", "user_enabled_emulation", false, false},
		{"ldap", "user_enabled_emulation_dn", nil, false},
		{"ldap", "user_enabled_emulation_use_group_config", false, false},
		{"ldap", "user_additional_attribute_mapping", []any{}, false},
		{"ldap", "group_tree_dn", nil, false},
		{"ldap", "group_filter", nil, false},
		{"ldap", "group_objectclass", "groupOfNames", false},
		{"ldap", "group_id_attribute", "cn", false},
		{"ldap", "group_name_attribute", "ou", false},
		{"ldap", "group_members_are_ids", false, false},
		{"ldap", "group_member_attribute", "member", false},
		{"ldap", "group_desc_attribute", "description", false},
		{"ldap", "group_attribute_ignore", []any{}, false},
		{"ldap", "group_additional_attribute_mapping", []any{}, false},
		{"ldap", "tls_cacertfile", nil, false},
		{"ldap", "tls_cacertdir", nil, false},
		{"ldap", "use_tls", false, false},
		{"ldap", "tls_req_cert", "demand", false},
		{"ldap", "use_pool", true, false},
		{"ldap", "pool_size", 10, false},
		{"ldap", "pool_retry_max", 3, false},
		{"ldap", "pool_retry_delay", 0.1, false},
		{"ldap", "pool_connection_timeout", -1, false},
		{"ldap", "pool_connection_lifetime", 600, false},
		{"ldap", "use_auth_pool", true, false},
		{"ldap", "auth_pool_size", 100, false},
		{"ldap", "auth_pool_connection_lifetime", 60, false},
		{"ldap", "password", nil, true},
	}
}
