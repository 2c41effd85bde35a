package compute

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// serverGroup says how its servers are placed to each other.
type serverGroup struct {
	ID, ProjectID, UserID, Name, Policy string
	Rules                               map[string]any
	Num                                 int64
}

const groupColumns = `id, project_id, user_id, name, policy, rules, num`

func scanGroup(r db.Row) (serverGroup, error) {
	var g serverGroup
	var rules db.JSON[map[string]any]
	err := r.Scan(&g.ID, &g.ProjectID, &g.UserID, &g.Name, &g.Policy, &rules, &g.Num)
	g.Rules = rules.V
	return g, err
}

func groupByID(tx *db.Tx, id string) (serverGroup, error) {
	return db.One(tx, scanGroup, `SELECT `+groupColumns+` FROM server_groups WHERE id = $1`, id)
}

func (s *Service) groupRoutes() []api.Route {
	all, one := "/v2.1/os-server-groups", "/v2.1/os-server-groups/{id}"
	return []api.Route{
		api.Handle("GET", all, api.Scoped(pGroups+"index"), 200, s.indexGroups, query(serverGroupsIndexQuery())),
		api.Handle("POST", all, api.Scoped(pGroups+"create"), 200, s.createGroup, body(serverGroupsCreateBody())),
		api.Handle("GET", one, api.Object(pGroups+"show"), 200, s.showGroup),
		api.Handle("DELETE", one, api.Object(pGroups+"delete"), 204, s.deleteGroup),
	}
}

// members are the servers of groups that are not deleted.
func groupMembers(tx *db.Tx, ids []string) (map[string][]string, error) {
	out := map[string][]string{}
	if len(ids) == 0 {
		return out, nil
	}
	var w db.Where
	w.In("group_id", ids).Add("NOT deleted")
	err := tx.Each(func(r db.Row) error {
		var group, server string
		err := r.Scan(&group, &server)
		out[group] = append(out[group], server)
		return err
	}, `SELECT group_id, id FROM servers`+w.SQL()+` ORDER BY num`, w.Args()...)
	return out, err
}

func groupView(r *api.Request, g serverGroup, members []string) map[string]any {
	if members == nil {
		members = []string{}
	}
	m := map[string]any{"id": g.ID, "name": g.Name, "members": members}
	if r.Since("2.64") {
		m["policy"], m["rules"] = g.Policy, g.Rules
	} else {
		m["policies"], m["metadata"] = []string{g.Policy}, map[string]string{}
	}
	if r.Since("2.13") {
		m["project_id"], m["user_id"] = g.ProjectID, g.UserID
	}
	return m
}

func (s *Service) indexGroups(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	var w db.Where
	if all := r.Query().Has("all_projects"); !all || !isAdmin(r) {
		w.Add("project_id = ?", r.ProjectID())
	} else if err := r.Enforce(pGroups+"index:all_projects", r.Self()); err != nil {
		return nil, err
	}
	limit, offset := int64(maxLimit), anyInt(r.Query().Get("offset"), 0)
	if n := anyInt(r.Query().Get("limit"), 0); n > 0 {
		limit = min(limit, n)
	}
	docs := []map[string]any{}
	err := s.read(ctx, func(tx *db.Tx) error {
		docs = docs[:0]
		groups, err := db.All(tx, scanGroup, `SELECT `+groupColumns+` FROM server_groups`+w.SQL()+` ORDER BY num LIMIT `+w.Arg(limit)+` OFFSET `+w.Arg(offset), w.Args()...)
		if err != nil {
			return err
		}
		ids := make([]string, len(groups))
		for i, g := range groups {
			ids[i] = g.ID
		}
		members, err := groupMembers(tx, ids)
		for _, g := range groups {
			docs = append(docs, groupView(r, g, members[g.ID]))
		}
		return err
	})
	return map[string]any{"server_groups": docs}, err
}

func (s *Service) createGroup(ctx context.Context, r *api.Request, in map[string]any) (map[string]any, error) {
	v := in["server_group"].(map[string]any)
	g := serverGroup{ID: uuid.NewString(), ProjectID: r.ProjectID(), UserID: r.UserID(), Rules: map[string]any{}}
	g.Name, _ = v["name"].(string)
	if p, ok := v["policy"].(string); ok {
		g.Policy = p
		if rules, ok := v["rules"].(map[string]any); ok && len(rules) > 0 {
			if p != "anti-affinity" {
				return nil, fault.BadRequest("Only anti-affinity policy supports rules.")
			}
			for k, n := range rules {
				g.Rules[k] = anyInt(n, 1)
			}
		}
	} else if l := list(v["policies"]); len(l) > 0 {
		g.Policy, _ = l[0].(string)
	}
	err := s.write(ctx, func(tx *db.Tx) error {
		if err := tx.LockQuota(g.ProjectID, "server_groups"); err != nil {
			return err
		}
		limits, err := s.limits(tx, g.ProjectID, g.UserID)
		if err != nil {
			return err
		}
		n, err := groupCount(tx, g.ProjectID)
		if err != nil {
			return err
		}
		if max := limits["server_groups"]; max >= 0 && n >= max {
			return fault.New(http.StatusForbidden, "", "Quota exceeded, too many server groups.")
		}
		if g.Num, err = tx.NextRevision(); err != nil {
			return err
		}
		_, err = tx.Exec(`INSERT INTO server_groups (`+groupColumns+`, created_at) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)`,
			g.ID, g.ProjectID, g.UserID, g.Name, g.Policy, db.JSON[map[string]any]{V: g.Rules}, g.Num, tx.NowMicros())
		return err
	})
	return map[string]any{"server_group": groupView(r, g, nil)}, err
}

func groupCount(tx *db.Tx, project string) (int64, error) {
	return db.One(tx, db.Value[int64], `SELECT count(*) FROM server_groups WHERE project_id = $1`, project)
}

func groupFor(tx *db.Tx, r *api.Request, rule string) (serverGroup, error) {
	g, err := groupByID(tx, r.Path("id"))
	if errors.Is(err, db.ErrNotFound) || err == nil && g.ProjectID != r.ProjectID() && !isAdmin(r) {
		r.Asked()
		if err == nil {
			r.Denied(policy.Owned{ProjectID: g.ProjectID, UserID: g.UserID}, pGroups+rule)
		}
		return g, fault.NotFound("Instance group %s could not be found.", r.Path("id"))
	}
	if err != nil {
		return g, err
	}
	return g, r.Enforce(pGroups+rule, policy.Owned{ProjectID: g.ProjectID, UserID: g.UserID})
}

func (s *Service) showGroup(ctx context.Context, r *api.Request, _ api.None) (out map[string]any, err error) {
	err = s.read(ctx, func(tx *db.Tx) error {
		g, err := groupFor(tx, r, "show")
		if err != nil {
			return err
		}
		members, err := groupMembers(tx, []string{g.ID})
		out = map[string]any{"server_group": groupView(r, g, members[g.ID])}
		return err
	})
	return out, err
}

func (s *Service) deleteGroup(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		g, err := groupFor(tx, r, "delete")
		if err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM server_groups WHERE id = $1`, g.ID)
		return err
	})
}
