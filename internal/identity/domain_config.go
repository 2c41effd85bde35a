package identity

import (
	"context"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

func (s *Service) domainConfigRoutes() []api.Route {
	var out []api.Route
	for _, path := range []string{"", "/{group}", "/{group}/{option}"} {
		out = append(out,
			api.Handle("GET", "/v3/domains/{domain_id}/config"+path, api.Object("identity:get_domain_config"), 200, s.showConfig),
			api.Handle("PATCH", "/v3/domains/{domain_id}/config"+path, api.Object("identity:update_domain_config"), 200, s.updateConfig),
			api.Handle("DELETE", "/v3/domains/{domain_id}/config"+path, api.Object("identity:delete_domain_config"), 204, s.deleteConfig),
			api.Handle("GET", "/v3/domain_config_defaults"+path+"/default", api.Object("identity:get_domain_config_default"), 200, s.defaultConfig))
	}
	return append(out, api.Handle("PUT", "/v3/domains/{domain_id}/config", api.Object("identity:create_domain_config"), 200, s.createConfig))
}

func badConfig(format string, args ...any) error {
	return fault.Forbidden("Invalid domain specific configuration: "+format+".", args...)
}

func configMissing(domain, group, option string) error {
	what := "any options"
	switch {
	case option != "":
		what = "option " + option + " in group " + group
	case group != "":
		what = "group " + group
	}
	return fault.NotFound("Could not find %s in domain configuration for domain %s.", what, domain)
}

// configKnown verifies a group and an option of it, either of which may be empty.
func configKnown(group, option string) error {
	all := configOptions()
	if group != "" && !slices.ContainsFunc(all, func(o configOption) bool { return o.group == group }) {
		return badConfig("Group %s is not supported for domain specific configurations", group)
	}
	if option != "" && !slices.ContainsFunc(all, func(o configOption) bool { return o.group == group && o.name == option }) {
		return badConfig("Option %s in group %s is not supported for domain specific configurations", option, group)
	}
	return nil
}

// validConfig verifies a whole body.
func validConfig(config doc) error {
	if len(config) == 0 {
		return badConfig("No options specified")
	}
	for group, v := range config {
		options, ok := v.(map[string]any)
		if !ok || len(options) == 0 {
			return badConfig("The value of group %s specified in the config should be a dictionary of options", group)
		}
		for option := range options {
			if err := configKnown(group, option); err != nil {
				return err
			}
		}
	}
	return nil
}

type storedOption struct {
	group, option string
	value         db.JSON[any]
}

func readConfig(tx *db.Tx, domain, group, option string) ([]storedOption, error) {
	w := (&db.Where{}).Add("domain_id = ?", domain)
	if group != "" {
		w.Add("grp = ?", group)
	}
	if option != "" {
		w.Add("option = ?", option)
	}
	return db.All(tx, func(r db.Row) (storedOption, error) {
		var o storedOption
		err := r.Scan(&o.group, &o.option, &o.value)
		return o, err
	}, `SELECT grp, option, value FROM identity_domain_config`+w.SQL()+` ORDER BY grp, option`, w.Args()...)
}

// nested is the wire form; for one option it is {option: value}. Secrets are never shown.
func nested(list []storedOption, one bool) doc {
	out := doc{}
	for _, o := range list {
		if o.group == "ldap" && o.option == "password" {
			continue
		}
		if one {
			out[o.option] = o.value.V
			continue
		}
		g, ok := out[o.group].(doc)
		if !ok {
			g = doc{}
			out[o.group] = g
		}
		g[o.option] = o.value.V
	}
	return out
}

func (s *Service) showConfig(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	domain, group, option := r.Path("domain_id"), r.Path("group"), r.Path("option")
	rule := "identity:get_domain_config"
	if group == "security_compliance" {
		rule = "identity:get_security_compliance_domain_config"
	}
	if err := r.Enforce(rule, policy.Map{}); err != nil {
		return nil, err
	}
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		if group == "security_compliance" { // elsewhere an unknown domain is one without options
			if _, err := s.getDomain(tx, domain); err != nil {
				return nil, err
			}
			return s.complianceConfig(domain, option)
		}
		if err := configKnown(group, option); err != nil {
			return nil, err
		}
		list, err := readConfig(tx, domain, group, option)
		if err != nil {
			return nil, err
		}
		config := nested(list, option != "")
		if len(config) == 0 {
			return nil, configMissing(domain, group, option)
		}
		return doc{"config": config}, nil
	})
}

// complianceConfig shows the password rules of keystone.conf, null where there is none.
func (s *Service) complianceConfig(domain, option string) (doc, error) {
	c := s.o.Conf.SecurityCompliance
	rules := doc{}
	for name, v := range map[string]string{"password_regex": c.PasswordRegex, "password_regex_description": c.PasswordRegexWords} {
		rules[name] = nil
		if v != "" {
			rules[name] = v
		}
	}
	if domain != defaultDomain {
		return nil, badConfig("Reading security compliance information for any domain other than the default domain is not allowed or supported.")
	}
	if option == "" {
		return doc{"config": doc{"security_compliance": rules}}, nil
	}
	v, ok := rules[option]
	if !ok {
		return nil, badConfig("Reading security compliance values other than password_regex and password_regex_description is not allowed.")
	}
	return doc{"config": doc{option: v}}, nil
}

func storeConfig(tx *db.Tx, domain string, config doc) error {
	for group, v := range config {
		for option, value := range asDoc(v) {
			_, err := tx.Exec(`INSERT INTO identity_domain_config (domain_id, grp, option, value) VALUES ($1,$2,$3,$4) ON CONFLICT (domain_id, grp, option) DO UPDATE SET value = excluded.value`,
				domain, group, option, db.JSON[any]{V: value})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Service) createConfig(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	if err := r.Enforce("identity:create_domain_config", policy.Map{}); err != nil {
		return nil, err
	}
	domain := r.Path("domain_id")
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		if _, err := s.getDomain(tx, domain); err != nil {
			return nil, err
		}
		config := asDoc(memberOf(in, "config"))
		if err := validConfig(config); err != nil {
			return nil, err
		}
		n, err := tx.Exec(`DELETE FROM identity_domain_config WHERE domain_id = $1`, domain)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			r.SetStatus(201)
		}
		if err := storeConfig(tx, domain, config); err != nil {
			return nil, err
		}
		if err := s.checkStoredConfig(tx, domain); err != nil {
			return nil, err
		}
		list, err := readConfig(tx, domain, "", "")
		return doc{"config": nested(list, false)}, err
	})
}

func (s *Service) updateConfig(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	if err := r.Enforce("identity:update_domain_config", policy.Map{}); err != nil {
		return nil, err
	}
	domain, group, option := r.Path("domain_id"), r.Path("group"), r.Path("option")
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		if _, err := s.getDomain(tx, domain); err != nil {
			return nil, err
		}
		config := asDoc(memberOf(in, "config"))
		if group != "" && option != "" {
			config = doc{group: map[string]any(config)}
		}
		if err := s.validUpdate(tx, domain, config, group, option); err != nil {
			return nil, err
		}
		if err := storeConfig(tx, domain, config); err != nil {
			return nil, err
		}
		if err := s.checkStoredConfig(tx, domain); err != nil {
			return nil, err
		}
		list, err := readConfig(tx, domain, "", "")
		return doc{"config": nested(list, false)}, err
	})
}

// validUpdate verifies that a body is about the group and option of the path, and that those are there.
func (s *Service) validUpdate(tx *db.Tx, domain string, config doc, group, option string) error {
	if err := validConfig(config); err != nil {
		return err
	}
	if err := configKnown(group, option); err != nil || group == "" {
		return err
	}
	if len(config) != 1 || option != "" && len(asDoc(config[group])) != 1 {
		if option != "" {
			return badConfig("Trying to update option %s in group %s, so that, and only that, option must be specified  in the config", option, group)
		}
		return badConfig("Trying to update group %s, so that, and only that, group must be specified in the config", group)
	}
	for other := range config {
		if other != group {
			return badConfig("request to update group %s, but config provided contains group %s instead", group, other)
		}
	}
	for other := range asDoc(config[group]) {
		if option != "" && other != option {
			return badConfig("Trying to update option %s in group %s, but config provided contains option %s instead", option, group, other)
		}
	}
	list, err := readConfig(tx, domain, group, option)
	if err == nil && len(list) == 0 {
		err = configMissing(domain, group, option)
	}
	return err
}

func (s *Service) deleteConfig(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	if err := r.Enforce("identity:delete_domain_config", policy.Map{}); err != nil {
		return api.None{}, err
	}
	domain, group, option := r.Path("domain_id"), r.Path("group"), r.Path("option")
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		if _, err := s.getDomain(tx, domain); err != nil {
			return err
		}
		if err := configKnown(group, option); err != nil {
			return err
		}
		list, err := readConfig(tx, domain, group, option)
		if err != nil {
			return err
		}
		if group != "" && len(list) == 0 {
			// A group that has no option at all is missed before the option.
			of, err := readConfig(tx, domain, group, "")
			if err != nil {
				return err
			}
			if len(of) == 0 {
				option = ""
			}
			return configMissing(domain, group, option)
		}
		for _, o := range list {
			if _, err := tx.Exec(`DELETE FROM identity_domain_config WHERE domain_id = $1 AND grp = $2 AND option = $3`, domain, o.group, o.option); err != nil {
				return err
			}
		}
		return s.checkStoredConfig(tx, domain)
	})
}

func (s *Service) defaultConfig(_ context.Context, r *api.Request, _ api.None) (doc, error) {
	if err := r.Enforce("identity:get_domain_config_default", policy.Map{}); err != nil {
		return nil, err
	}
	group, option := r.Path("group"), r.Path("option")
	if err := configKnown(group, option); err != nil {
		return nil, err
	}
	var list []storedOption
	for _, o := range configOptions() {
		if o.secret && o.name == option {
			return nil, badConfig("Reading the default for option %s in group %s is not supported", option, group)
		}
		if (group == "" || group == o.group) && (option == "" || option == o.name) {
			list = append(list, storedOption{o.group, o.name, db.JSON[any]{V: o.value}})
		}
	}
	return doc{"config": nested(list, option != "")}, nil
}
