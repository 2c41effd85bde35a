package network

import (
	"context"
	"errors"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
)

// securityGroup is a set of rules for ports.
type securityGroup struct {
	standard
	Stateful bool
	Default  bool
	Rules    []*rule
}

const securityGroupColumns = standardColumns + `, t.stateful, t.is_default`

func scanSecurityGroup(r db.Row) (*securityGroup, error) {
	g := &securityGroup{}
	return g, r.Scan(g.scan(&g.Stateful, &g.Default)...)
}

func (g *securityGroup) columns() []column {
	return []column{{"stateful", g.Stateful}, {"is_default", g.Default}}
}

func (g *securityGroup) doc() doc {
	rules := make([]doc, len(g.Rules))
	for i, r := range g.Rules {
		rules[i] = r.doc()
	}
	return g.common(doc{"name": g.Name, "stateful": g.Stateful, "security_group_rules": rules, "shared": false})
}

func (s *Service) securityGroups() *resource {
	return &resource{name: "security_group", collection: "security_groups", path: "security-groups", table: "net_security_groups", notFound: securityGroupNotFound,
		shareable: "security_group", scope: sharedScope("security_group"), quota: "security_group",
		filters: map[string]func(w *db.Where, c *call, values []string) error{"shared": sharedFilter("security_group")},
		attrs: append(standardAttrs(attr{name: "name", post: true, put: true, def: "", validate: vNameNotDefault, column: "t.name", sort: true}),
			attr{name: "stateful", post: true, put: true, def: true, convert: toBool, column: "t.stateful", kind: boolean},
			attr{name: "security_group_rules"},
			attr{name: "shared"}),
		beforeList: ensureDefaultGroup,
		load:       loadSecurityGroups, create: createSecurityGroup, update: updateSecurityGroup, remove: removeSecurityGroup}
}

func loadSecurityGroups(c *call, ids []string) ([]object, error) {
	w := &db.Where{}
	w.In("t.id", ids)
	gs, err := db.All(c.tx, scanSecurityGroup, `SELECT `+securityGroupColumns+` FROM net_security_groups t`+w.SQL(), w.Args()...)
	if err != nil {
		return nil, err
	}
	byID := map[string]*securityGroup{}
	out := make([]object, len(gs))
	for i, g := range gs {
		byID[g.ID], out[i] = g, g
	}
	w = &db.Where{}
	w.In("t.security_group_id", ids)
	rules, err := db.All(c.tx, scanRule, `SELECT `+ruleColumns+` FROM net_security_group_rules t`+w.SQL()+` ORDER BY t.id`, w.Args()...)
	for _, r := range rules {
		byID[r.GroupID].Rules = append(byID[r.GroupID].Rules, r)
	}
	return out, err
}

// ensureDefaultGroup makes the default group of the caller's project, or of the one it filters by, before the list is read.
func ensureDefaultGroup(ctx context.Context, s *Service, q *api.Request) error {
	project := q.ProjectID()
	for _, name := range []string{"project_id", "tenant_id"} {
		if p := q.Query().Get(name); p != "" && s.call(nil, q, q.Caller).admin {
			project = p
		}
	}
	if project == "" {
		return nil
	}
	var there bool
	if err := s.o.DB.Read(ctx, func(tx *db.Tx) error {
		_, err := db.One(tx, db.Value[string], `SELECT id FROM net_security_groups WHERE project_id = $1 AND is_default`, project)
		there = err == nil
		if errors.Is(err, db.ErrNotFound) {
			return nil
		}
		return err
	}); err != nil || there {
		return err
	}
	return s.o.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := s.call(tx, q, q.Caller).defaultGroup(project)
		return err
	})
}

// defaultGroup is the project's default group, made when it is first needed.
func (c *call) defaultGroup(projectID string) (string, error) {
	find := func() (string, error) {
		return db.One(c.tx, db.Value[string], `SELECT id FROM net_security_groups WHERE project_id = $1 AND is_default`, projectID)
	}
	id, err := find()
	if !errors.Is(err, db.ErrNotFound) {
		return id, err
	}
	if err := c.tx.LockQuota(projectID, "default_security_group"); err != nil {
		return "", err
	}
	if id, err = find(); !errors.Is(err, db.ErrNotFound) {
		return id, err
	}
	g := &securityGroup{standard: newStandard(c.tx, values{"tenant_id": projectID, "name": "default", "description": "Default security group"}), Stateful: true, Default: true}
	return g.ID, c.insertGroup(g)
}

// insertGroup stores a group with the rules that the templates give its kind.
func (c *call) insertGroup(g *securityGroup) error {
	g.Revision = 1
	if err := insert(c.tx, "security_group", "net_security_groups", &g.standard, g.columns()...); err != nil {
		return err
	}
	return c.rulesFromTemplates(g)
}

func (c *call) insertRule(g *securityGroup, r *rule) error {
	r.standard = newStandard(c.tx, values{"tenant_id": g.ProjectID})
	r.GroupID = g.ID
	g.Rules = append(g.Rules, r)
	return insert(c.tx, "security_group_rule", "net_security_group_rules", &r.standard, r.columns()...)
}

func createSecurityGroup(c *call, v values) (object, error) {
	if _, err := c.defaultGroup(v.str("tenant_id")); err != nil {
		return nil, err
	}
	g := &securityGroup{standard: newStandard(c.tx, v), Stateful: v.bool("stateful")}
	return g, c.insertGroup(g)
}

func updateSecurityGroup(c *call, o object, v values) (object, error) {
	g := o.(*securityGroup)
	if v.has("stateful") && v.bool("stateful") != g.Stateful {
		if used, err := c.groupUsed(g.ID); err != nil || used {
			return nil, orInUse(err, g.ID)
		}
		g.Stateful = v.bool("stateful")
	}
	if g.Default && v.has("name") {
		return nil, conflict("SecurityGroupCannotUpdateDefault", "Updating default security group not allowed.")
	}
	renamed := g.Name
	g.take(v)
	if renamed != g.Name {
		if err := c.tellServers(serversOfGroup, g.ID); err != nil {
			return nil, err
		}
	}
	return g, save(c.tx, "security_group", "net_security_groups", &g.standard, g.columns()...)
}

func (c *call) groupUsed(id string) (bool, error) {
	_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_port_security_groups WHERE security_group_id = $1 LIMIT 1`, id)
	if errors.Is(err, db.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func orInUse(err error, id string) error {
	if err != nil {
		return err
	}
	return conflict("SecurityGroupInUse", "Security Group %s in use.", id)
}

func removeSecurityGroup(c *call, o object) error {
	g := o.(*securityGroup)
	if used, err := c.groupUsed(g.ID); err != nil || used {
		return orInUse(err, g.ID)
	}
	if g.Default && !c.admin {
		return conflict("SecurityGroupCannotRemoveDefault", "Insufficient rights for removing default security group.")
	}
	// Rules of other groups that name this one go with it.
	refs, err := db.All(c.tx, db.Value[string], `SELECT DISTINCT security_group_id FROM net_security_group_rules WHERE remote_group_id = $1 AND security_group_id <> $1`, g.ID)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if err := bump(c.tx, "net_security_groups", ref, true); err != nil {
			return err
		}
		if err := c.wakeGroup(ref); err != nil {
			return err
		}
	}
	if _, err := c.tx.Exec(`DELETE FROM net_security_group_rules WHERE security_group_id = $1 OR remote_group_id = $1`, g.ID); err != nil {
		return err
	}
	if _, err := c.tx.Exec(`DELETE FROM net_rbac_policies WHERE object_type = 'security_group' AND object_id = $1`, g.ID); err != nil {
		return err
	}
	return erase(c.tx, "security_group", "net_security_groups", &g.standard)
}
