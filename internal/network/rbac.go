package network

import (
	"errors"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// rbac opens an object of one project to another or to all.
type rbac struct {
	standard
	ObjectType, ObjectID, Target, Action string
}

const rbacColumns = standardColumns + `, t.object_type, t.object_id, t.target_project, t.action`

func scanRBAC(r db.Row) (*rbac, error) {
	p := &rbac{}
	return p, r.Scan(p.scan(&p.ObjectType, &p.ObjectID, &p.Target, &p.Action)...)
}

func (p *rbac) doc() doc {
	return doc{"id": p.ID, "tenant_id": p.ProjectID, "project_id": p.ProjectID, "object_type": p.ObjectType, "object_id": p.ObjectID,
		"target_tenant": p.Target, "action": p.Action}
}

// rbacKinds are the object types, each with its actions, table and the resource of its objects.
var rbacKinds = map[string]struct {
	actions []string
	table   string
}{
	"network":        {[]string{"access_as_shared", "access_as_external"}, "net_networks"},
	"subnetpool":     {[]string{"access_as_shared"}, "net_subnetpools"},
	"address_scope":  {[]string{"access_as_shared"}, "net_address_scopes"},
	"security_group": {[]string{"access_as_shared"}, "net_security_groups"},
	"qos_policy":     {[]string{"access_as_shared"}, "net_qos_policies"},
	"address_group":  {[]string{"access_as_shared"}, "net_address_groups"},
}

func rbacAttrs() []attr {
	return append(standardAttrs(attr{}, "no description", "no tags"),
		attr{name: "object_type", post: true, def: nil, convert: validObjectType, enforce: true, column: "t.object_type"},
		attr{name: "object_id", post: true, required: true, validate: vUUID, enforce: true, column: "t.object_id"},
		attr{name: "target_tenant", post: true, put: true, required: true, validate: vString(255), enforce: true, column: "t.target_project"},
		attr{name: "action", post: true, required: true, validate: vString(255), enforce: true, column: "t.action"})
}

func validObjectType(v any) (any, error) {
	if s, ok := v.(string); ok {
		if _, ok := rbacKinds[s]; ok {
			return v, nil
		}
	}
	return nil, invalidInput("'%s' is not a valid RBAC object type", str(v))
}

func (s *Service) rbacPolicies() *resource {
	return &resource{name: "rbac_policy", collection: "rbac_policies", path: "rbac-policies", table: "net_rbac_policies", attrs: rbacAttrs(), quota: "rbac_policy",
		notFound: rbacNotFound,
		// Of a policy know its owner and whom it names.
		scope: func(w *db.Where, c *call) {
			w.Add("t.project_id = ? OR t.target_project IN ('*', ?)", c.projectID, c.projectID)
		},
		load: loadRBAC, create: createRBAC, update: updateRBAC, remove: removeRBAC}
}

func loadRBAC(c *call, ids []string) ([]object, error) {
	return loadAll(c, ids, "net_rbac_policies", rbacColumns, scanRBAC)
}

// loadAll loads rows by id as objects.
func loadAll[T object](c *call, ids []string, table, columns string, scan func(db.Row) (T, error)) ([]object, error) {
	w := &db.Where{}
	w.In("t.id", ids)
	rows, err := db.All(c.tx, scan, `SELECT `+columns+` FROM `+table+` t`+w.SQL(), w.Args()...)
	out := make([]object, len(rows))
	for i, r := range rows {
		out[i] = r
	}
	return out, err
}

// share writes an rbac entry unless it is there.
func (c *call) share(objectType, id, projectID, target, action string) error {
	rev, err := c.tx.NextRevision()
	if err != nil {
		return err
	}
	_, err = c.tx.Exec(`INSERT INTO net_rbac_policies (id, project_id, name, description, tags, created_at, updated_at, revision_number, rev, object_type, object_id, target_project, action)
		VALUES ($1, $2, '', '', '[]', $3, $3, 0, $4, $5, $6, $7, $8) ON CONFLICT (object_type, object_id, target_project, action) DO NOTHING`,
		uuid.NewString(), projectID, c.tx.NowMicros(), rev, objectType, id, target, action)
	return err
}

func createRBAC(c *call, v values) (object, error) {
	p := &rbac{standard: newStandard(c.tx, v), ObjectType: v.str("object_type"), ObjectID: v.str("object_id"), Target: v.str("target_tenant"), Action: v.str("action")}
	kind := rbacKinds[p.ObjectType]
	owner, err := db.One(c.tx, db.Value[string], `SELECT project_id FROM `+kind.table+` WHERE id = $1`, p.ObjectID)
	if errors.Is(err, db.ErrNotFound) || err == nil && owner != c.projectID && !c.admin {
		if err == nil {
			if known, err := c.sharedWith(p.ObjectType, p.ObjectID, c.projectID); err != nil {
				return nil, err
			} else if known { // neutron/objects/rbac_db.py, validate_rbac_policy_change
				return nil, invalidInput("Only admins can manipulate policies on objects they do not own")
			}
		}
		// Whose object it is is nobody else's business.
		return nil, c.s.rbacObjectNotFound(p.ObjectType, p.ObjectID)
	}
	if err != nil {
		return nil, err
	}
	if !contains(kind.actions, p.Action) {
		return nil, invalidInput("Action '%s' for object type '%s' does not exist", p.Action, p.ObjectType)
	}
	if err := insertRBAC(c, p); err != nil {
		return nil, err
	}
	return p, c.rbacChanged(p)
}

func insertRBAC(c *call, p *rbac) error {
	_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_rbac_policies WHERE object_type = $1 AND object_id = $2 AND target_project = $3 AND action = $4`, p.ObjectType, p.ObjectID, p.Target, p.Action)
	if err == nil {
		return conflict("DuplicatePolicy", "An RBAC policy already exists with those values.")
	}
	if !errors.Is(err, db.ErrNotFound) {
		return err
	}
	return insert(c.tx, "rbac_policy", "net_rbac_policies", &p.standard, column{"object_type", p.ObjectType}, column{"object_id", p.ObjectID},
		column{"target_project", p.Target}, column{"action", p.Action})
}

// rbacChanged makes a network external when a policy says so; the last such policy's end makes it internal again.
func (c *call) rbacChanged(p *rbac) error {
	if p.ObjectType != "network" || p.Action != "access_as_external" {
		return bump(c.tx, rbacKinds[p.ObjectType].table, p.ObjectID, false)
	}
	_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_rbac_policies WHERE object_type = 'network' AND object_id = $1 AND action = 'access_as_external' LIMIT 1`, p.ObjectID)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return err
	}
	if err := set(c.tx, "net_networks", p.ObjectID, column{"external", err == nil}); err != nil {
		return err
	}
	return bump(c.tx, "net_networks", p.ObjectID, false)
}

func updateRBAC(c *call, o object, v values) (object, error) {
	p := o.(*rbac)
	if !v.has("target_tenant") || v.str("target_tenant") == p.Target {
		return p, nil
	}
	if err := c.mayUnshare(p); err != nil {
		return nil, err
	}
	p.Target = v.str("target_tenant")
	_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_rbac_policies WHERE object_type = $1 AND object_id = $2 AND target_project = $3 AND action = $4`, p.ObjectType, p.ObjectID, p.Target, p.Action)
	if err == nil {
		return nil, conflict("DuplicatePolicy", "An RBAC policy already exists with those values.")
	}
	if !errors.Is(err, db.ErrNotFound) {
		return nil, err
	}
	if err := save(c.tx, "rbac_policy", "net_rbac_policies", &p.standard, column{"target_project", p.Target}); err != nil {
		return nil, err
	}
	return p, c.rbacChanged(p)
}

func removeRBAC(c *call, o object) error {
	p := o.(*rbac)
	if err := c.mayUnshare(p); err != nil {
		return err
	}
	if err := erase(c.tx, "rbac_policy", "net_rbac_policies", &p.standard); err != nil {
		return err
	}
	return c.rbacChanged(p)
}

// mayUnshare refuses to take away what is in use.
func (c *call) mayUnshare(p *rbac) error {
	inUse := func(why string) error {
		return conflict("RbacPolicyInUse", "RBAC policy on object %s cannot be removed because other objects depend on it.\nDetails: %s", p.ObjectID, why)
	}
	switch {
	case p.ObjectType == "network" && p.Action == "access_as_shared":
		n, err := c.network(p.ObjectID)
		if err != nil {
			return err
		}
		if err := c.othersUse(n, p.Target); err != nil {
			return inUse(fault.As(err).Message)
		}
		return nil
	case p.ObjectType == "network":
		_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_ports p JOIN net_networks n ON n.id = p.network_id WHERE p.network_id = $1 AND p.device_owner = 'network:router_gateway' AND p.project_id <> n.project_id LIMIT 1`, p.ObjectID)
		if errors.Is(err, db.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return inUse("There are routers attached to this network that depend on this policy for access.")
	case p.ObjectType == "security_group":
		_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_port_security_groups b JOIN net_ports p ON p.id = b.port_id JOIN net_security_groups g ON g.id = b.security_group_id
			WHERE b.security_group_id = $1 AND p.project_id <> g.project_id AND $2 IN ('*', p.project_id) LIMIT 1`, p.ObjectID, p.Target)
		if errors.Is(err, db.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return inUse("Security Group " + p.ObjectID + " in use.")
	case p.ObjectType == "qos_policy":
		used, err := c.qosRBACInUse(p)
		if err != nil || !used {
			return err
		}
		return inUse("project_id=" + p.Target)
	case p.ObjectType == "address_group":
		used, err := c.addressGroupRBACInUse(p)
		if err != nil || !used {
			return err
		}
		return inUse("project_id=" + p.Target)
	}
	return nil
}
