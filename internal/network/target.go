package network

import (
	"bytes"
	"encoding/json"
	"errors"
	"sort"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// target describes an object to policy. Attributes of its network or security group are looked up only when a rule asks.
func (c *call) target(r *resource, projectID string, shared bool, o object) policy.Target {
	var d doc
	return policy.TargetFunc(func(name string) (any, bool) {
		switch name {
		case "project_id", "tenant_id":
			return projectID, true
		case "shared":
			if r.shareable != "" {
				return shared, true
			}
			return nil, false
		}
		if strings.Contains(name, ":") {
			if v, ok := c.parentAttr(r, o, nil, name); ok {
				return v, true
			}
		}
		if d == nil && o != nil {
			d = o.doc()
		}
		v, ok := d[name]
		return v, ok
	})
}

// valuesTarget is a request's values over an object (nil for a new one).
func (c *call) valuesTarget(r *resource, v values, o object, shared bool) policy.Target {
	var base policy.Target
	if o != nil {
		base = c.target(r, o.std().ProjectID, shared, o)
	}
	return policy.TargetFunc(func(name string) (any, bool) {
		if x, ok := v[name]; ok {
			return x, true
		}
		if strings.Contains(name, ":") {
			if x, ok := c.parentAttr(r, o, v, name); ok {
				return x, true
			}
		}
		if base != nil {
			return base.Attr(name)
		}
		return nil, false
	})
}

// parentAttr resolves network:project_id, network:shared, security_group:project_id and the like.
func (c *call) parentAttr(r *resource, o object, v values, name string) (any, bool) {
	kind, field, _ := strings.Cut(name, ":")
	limit, ofPolicy := o.(*qosRule)
	switch {
	case kind == "ext_parent" && ofPolicy:
		p, err := db.One(c.tx, db.Value[string], `SELECT project_id FROM net_qos_policies WHERE id = $1`, limit.PolicyID)
		return p, err == nil && (field == "project_id" || field == "tenant_id")
	case kind == "ext_parent" && r.nested != nil && c.r != nil:
		if field != "project_id" && field != "tenant_id" {
			return nil, false
		}
		p, err := db.One(c.tx, db.Value[string], `SELECT project_id FROM `+r.nested.below.table+` WHERE id = $1`, c.r.Path("parent"))
		return p, err == nil
	case kind == "network" && r.parent == "network_id":
		id := v.str("network_id")
		if o != nil {
			switch x := o.(type) {
			case *subnet:
				id = x.NetworkID
			case *port:
				id = x.NetworkID
			case *rowKey:
				id = x.parent
			}
		}
		return c.networkAttr(id, field)
	case kind == "security_group" && r.parent == "security_group_id", kind == "ext_parent" && r.parent == "security_group_id":
		id := v.str("security_group_id")
		switch x := o.(type) {
		case *rule:
			id = x.GroupID
		case *rowKey:
			id = x.parent
		}
		if field != "project_id" && field != "tenant_id" {
			return nil, false
		}
		p, err := db.One(c.tx, db.Value[string], `SELECT project_id FROM net_security_groups WHERE id = $1`, id)
		return p, err == nil
	}
	return nil, false
}

func (c *call) networkAttr(id, field string) (any, bool) {
	n := c.nets[id]
	if n == nil {
		var err error
		if n, err = c.network(id); err != nil {
			return nil, false
		}
		if c.nets == nil {
			c.nets = map[string]*network{}
		}
		c.nets[id] = n
	}
	switch field {
	case "project_id", "tenant_id":
		return n.ProjectID, true
	case "shared":
		shared, err := c.sharedWith("network", id, c.projectID)
		return shared, err == nil
	case "router:external":
		return n.External, true
	}
	return nil, false
}

// sharedWith tells whether an rbac policy opens the object to a project.
func (c *call) sharedWith(objectType, id, projectID string) (bool, error) {
	_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_rbac_policies WHERE object_type = $1 AND object_id = $2 AND action = 'access_as_shared' AND target_project IN ('*', $3)`,
		objectType, id, projectID)
	if errors.Is(err, db.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// view is what a caller sees of an object: its key in the cache says all that the rendering depends on besides the object.
type view struct {
	key    string
	hidden []string
	fields []string
	shared bool
}

func (c *call) view(r *resource, projectID string, shared bool, o object, fields []string) view {
	v := view{shared: shared}
	t := c.target(r, projectID, shared, o)
	for _, a := range c.s.readRules(r) {
		if !c.s.policy.Allowed("get_"+r.name+":"+a, c.creds, t) {
			v.hidden = append(v.hidden, a)
		}
	}
	for _, f := range fields {
		v.fields = append(v.fields, strings.Split(f, ",")...)
	}
	sort.Strings(v.fields)
	v.key = strings.Join(v.hidden, ",")
	if shared {
		v.key += "|shared"
	}
	if len(v.fields) > 0 {
		v.key += "|" + strings.Join(v.fields, ",")
	}
	return v
}

// readRules are the attributes of a kind that a policy rule of their own hides (get_network:provider:network_type). An operator's
// policy.yaml may add such rules at any time.
func (s *Service) readRules(r *resource) []string {
	known := s.reads.Load()
	if loaded := s.policy.Loaded(); known == nil || known.loaded != loaded {
		known = &readRules{loaded: loaded, of: map[*resource][]string{}}
		for _, r := range s.res.all() {
			for _, a := range r.attrs {
				if s.policy.Has("get_" + r.name + ":" + a.name) {
					known.of[r] = append(known.of[r], a.name)
				}
			}
			sort.Strings(known.of[r])
		}
		s.reads.Store(known)
	}
	return known.of[r]
}

// readRules is what one load of the rules says about attributes.
type readRules struct {
	loaded int64
	of     map[*resource][]string
}

// encode renders an object for a view.
func (c *call) encode(r *resource, o object, v view) ([]byte, error) {
	d := o.doc()
	if r.shareable != "" && r.attr("shared") != nil && !r.attr("shared").hidden {
		d["shared"] = v.shared
	}
	for _, h := range v.hidden {
		delete(d, h)
	}
	if len(v.fields) > 0 {
		cut := doc{}
		for _, f := range v.fields {
			if x, ok := d[f]; ok {
				cut[f] = x
			}
		}
		d = cut
	}
	return encodeJSON(d)
}

// encodeJSON is json.Marshal without the escaping of HTML characters, which Python's json does not do.
func encodeJSON(d any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
