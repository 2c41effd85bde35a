package compute

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/network"
	"github.com/hanok-cloud/hanok/internal/policy"
)

func (s *Service) serverRoutes() []api.Route {
	one := "/v2.1/servers/{id}"
	return []api.Route{
		api.Handle("GET", "/v2.1/servers", api.Scoped(pServers+"index"), 200, s.indexServers, query(serversIndexQuery())),
		api.Handle("GET", "/v2.1/servers/detail", api.Scoped(pServers+"detail"), 200, s.detailServers, query(serversDetailQuery())),
		api.Handle("POST", "/v2.1/servers", api.Object(pServers+"create"), 202, s.createServer, body(serversCreateBody())),
		api.Handle("GET", one, api.Object(pServers+"show"), 200, s.showServer),
		api.Handle("PUT", one, api.Object(pServers+"update"), 200, s.updateServer, body(serversUpdateBody())),
		api.Handle("DELETE", one, api.Object(pServers+"delete"), 204, s.deleteServer),
		api.Handle("POST", one+"/action", api.Object(pServers+"show"), 202, s.serverAction),
	}
}

// target is a server for the rules.
func (v *Server) target() policy.Target {
	return policy.Owned{ProjectID: v.ProjectID, UserID: v.UserID}
}

// find reads a server that the caller may know of and asks a rule about it. Servers of other projects do not exist for those who are no admin.
func (s *Service) find(tx *db.Tx, r *api.Request, id, rule string, lock bool) (*Server, error) {
	v, err := serverFor(tx, r, id, isAdmin(r), false, lock)
	if err != nil {
		return nil, err
	}
	return v, r.Enforce(rule, v.target())
}

// withServer runs fn on a server under its lock, after a rule.
func (s *Service) withServer(ctx context.Context, r *api.Request, rule string, fn func(tx *db.Tx, v *Server) error) error {
	return s.write(ctx, func(tx *db.Tx) error {
		v, err := s.find(tx, r, r.Path("id"), rule, true)
		if err != nil {
			return err
		}
		return fn(tx, v)
	})
}

// readServer runs fn on a server without a lock, after a rule.
func (s *Service) readServer(ctx context.Context, r *api.Request, rule string, fn func(tx *db.Tx, v *Server) error) error {
	return s.read(ctx, func(tx *db.Tx) error {
		v, err := s.find(tx, r, r.Path("id"), rule, false)
		if err != nil {
			return err
		}
		return fn(tx, v)
	})
}

func (s *Service) indexServers(ctx context.Context, r *api.Request, _ api.None) (*api.List, error) {
	return s.listServers(ctx, r, false)
}

func (s *Service) detailServers(ctx context.Context, r *api.Request, _ api.None) (*api.List, error) {
	return s.listServers(ctx, r, true)
}

// listed is what the list's own query returns of a server.
type listed struct {
	id       string
	revision int64
	host     string
}

func (s *Service) listServers(ctx context.Context, r *api.Request, detail bool) (*api.List, error) {
	var docs [][]byte
	var last string
	var limit int
	err := s.read(ctx, func(tx *db.Tx) error {
		q, err := s.parseServerQuery(tx, r, detail)
		if err != nil {
			return err
		}
		limit = q.limit
		rows, err := s.matching(tx, q)
		if err != nil || len(rows) == 0 {
			return err
		}
		last = rows[len(rows)-1].id
		docs, err = s.serverDocs(tx, r, rows, detail)
		return err
	})
	if err != nil {
		if strings.Contains(err.Error(), "regular expression") || strings.Contains(err.Error(), "error parsing regexp") {
			return nil, fault.BadRequest("Invalid regular expression in the filters.").Because(err)
		}
		return nil, err
	}
	var extra []byte
	if len(docs) > 0 && len(docs) == limit {
		collection := "servers"
		if detail {
			collection = "servers/detail"
		}
		if extra, err = api.Marshal(map[string]any{"servers_links": nextLink(r, collection, last)}, r.MV); err != nil {
			return nil, err
		}
	}
	return &api.List{Key: "servers", Docs: docs, Extra: extra}, nil
}

// matching runs the list's query.
func (s *Service) matching(tx *db.Tx, q *serverQuery) ([]listed, error) {
	if q.marker != "" {
		if err := q.after(tx); err != nil {
			return nil, err
		}
	}
	if q.none || q.limit == 0 {
		return nil, nil
	}
	text := `SELECT id, revision, host FROM servers` + q.where.SQL() + db.OrderBy(q.orders)
	addresses := q.ip != "" || q.ip6 != ""
	if !addresses {
		text += ` LIMIT ` + q.where.Arg(q.limit)
	}
	rows, err := db.All(tx, func(r db.Row) (listed, error) {
		var l listed
		return l, r.Scan(&l.id, &l.revision, &l.host)
	}, text, q.where.Args()...)
	if err != nil || !addresses {
		return rows, err
	}
	return s.byAddress(tx, q, rows)
}

// after continues behind the marker, which may be any server that the filters would not show too, but for other projects' (nova/db/main/api.py,
// instance_get_by_uuid, project_only): where a page begins would tell that they exist.
func (q *serverQuery) after(tx *db.Tx) error {
	own := (&db.Where{}).Add("id = ?", q.marker)
	if !q.admin {
		own.Add("project_id = ?", q.project)
	}
	cols := make([]string, len(q.orders))
	for i, o := range q.orders {
		cols[i] = o.Column
	}
	values, err := db.One(tx, func(r db.Row) ([]any, error) {
		v := make([]any, len(cols))
		dest := make([]any, len(cols))
		for i := range v {
			dest[i] = &v[i]
		}
		return v, r.Scan(dest...)
	}, `SELECT `+strings.Join(cols, ", ")+` FROM servers`+own.SQL(), own.Args()...)
	if errors.Is(err, db.ErrNotFound) {
		return markerNotFound(q.marker)
	}
	if err == nil {
		q.where.After(q.orders, values)
	}
	return err
}

// byAddress keeps the servers with a fixed address that matches the expressions.
func (s *Service) byAddress(tx *db.Tx, q *serverQuery, rows []listed) ([]listed, error) {
	match := map[int]*regexp.Regexp{}
	for version, expr := range map[int]string{4: q.ip, 6: q.ip6} {
		if expr != "" {
			re, err := regexp.Compile(expr)
			if err != nil {
				return nil, fault.BadRequest("Invalid regular expression in the filters.").Because(err)
			}
			match[version] = re
		}
	}
	ids := make([]string, len(rows))
	for i, l := range rows {
		ids[i] = l.id
	}
	ports, err := s.portsOf(tx, ids)
	if err != nil {
		return nil, err
	}
	var out []listed
	for _, l := range rows {
		ok := true
		for version, re := range match {
			ok = ok && hasAddress(ports[l.id], version, re)
		}
		if ok && len(out) < q.limit {
			out = append(out, l)
		}
	}
	return out, nil
}

func hasAddress(ports []network.Port, version int, re *regexp.Regexp) bool {
	for _, p := range ports {
		for _, ip := range p.FixedIPs {
			if ip.Version == version && re.MatchString(ip.IP) {
				return true
			}
		}
	}
	return false
}

// serverDocs are the documents of a page: those that are cached, and the rest made of the rows and their ports.
func (s *Service) serverDocs(tx *db.Tx, r *api.Request, rows []listed, detail bool) ([][]byte, error) {
	view := viewOf(r, nil)
	hosts, err := s.hostsForStatus(tx, &view)
	if err != nil {
		return nil, err
	}
	keys := map[string]string{} // by host status
	key := func(l listed) (api.DocKey, string) {
		if !detail {
			return api.DocKey{ID: l.id, Revision: l.revision, View: "servers/basic " + view.base}, ""
		}
		status := view.hostStatusOf(l.host, hosts)
		k, ok := keys[status]
		if !ok {
			k = view.cacheKey(status)
			keys[status] = k
		}
		return api.DocKey{ID: l.id, Revision: l.revision, View: k}, status
	}
	docs := make([][]byte, len(rows))
	var missing []string
	place := map[string]int{}
	for i, l := range rows {
		k, _ := key(l)
		if docs[i] = s.docs.Get(k); docs[i] == nil {
			missing = append(missing, l.id)
			place[l.id] = i
		}
	}
	if len(missing) == 0 {
		return docs, nil
	}
	servers, err := listedServers(tx, missing)
	if err != nil {
		return nil, err
	}
	var ports map[string][]network.Port
	if detail {
		if ports, err = s.portsOf(tx, missing); err != nil {
			return nil, err
		}
	}
	for _, v := range servers {
		i := place[v.ID]
		k, status := key(rows[i])
		if detail {
			docs[i] = view.detail(v, ports[v.ID], status)
		} else {
			docs[i] = view.basic(v)
		}
		s.docs.Put(k, docs[i])
	}
	return docs, nil
}

// hostsForStatus reads the hosts when the view shows their status.
func (s *Service) hostsForStatus(tx *db.Tx, view *serverView) (map[string]computeHost, error) {
	if view.hostStatus == "" {
		return nil, nil
	}
	hosts, err := s.computeHosts(tx)
	m := make(map[string]computeHost, len(hosts))
	for _, h := range hosts {
		m[h.Host] = h
	}
	return m, err
}

// document is one server's answer.
func (s *Service) document(tx *db.Tx, v *Server, view serverView) ([]byte, error) {
	hosts, err := s.hostsForStatus(tx, &view)
	if err != nil {
		return nil, err
	}
	ports, err := s.portsOf(tx, []string{v.ID})
	if err != nil {
		return nil, err
	}
	return view.detail(v, ports[v.ID], view.hostStatusOf(v.Host, hosts)), nil
}

func wrap(key string, doc []byte) api.JSON {
	b := make([]byte, 0, len(doc)+len(key)+6)
	b = append(b, '{', '"')
	b = append(b, key...)
	b = append(b, '"', ':')
	b = append(b, doc...)
	return append(b, '}')
}

func (s *Service) showServer(ctx context.Context, r *api.Request, _ api.None) (out api.JSON, err error) {
	err = s.readServer(ctx, r, pServers+"show", func(tx *db.Tx, v *Server) error {
		view := viewOf(r, v.target())
		view.groups = true
		doc, err := s.document(tx, v, view)
		out = wrap("server", doc)
		return err
	})
	return out, err
}

func (s *Service) updateServer(ctx context.Context, r *api.Request, in map[string]any) (out api.JSON, err error) {
	b := in["server"].(map[string]any)
	err = s.withServer(ctx, r, pServers+"update", func(tx *db.Tx, v *Server) error {
		if n, ok := b["name"].(string); ok {
			v.Name = strings.TrimSpace(n)
		}
		if d, ok := b["description"]; ok {
			v.Description = nil
			if t, ok := d.(string); ok {
				v.Description = &t
			}
		}
		if h, ok := b["hostname"].(string); ok {
			v.Hostname = h
		}
		for k, dest := range map[string]*string{"accessIPv4": &v.AccessIPv4, "accessIPv6": &v.AccessIPv6} {
			if a, ok := b[k].(string); ok {
				*dest = canonicalIP(a)
			}
		}
		if c, ok := b["OS-DCF:diskConfig"].(string); ok {
			v.AutoDiskConfig = c == "AUTO"
		}
		if err := s.save(tx, v); err != nil {
			return err
		}
		if err := emit(tx, v, "update", r.ID); err != nil {
			return err
		}
		view := viewOf(r, v.target())
		view.groups = true
		if !r.Since("2.75") {
			view.short, view.extended, view.hostStatus = true, false, ""
		}
		doc, err := s.document(tx, v, view)
		out = wrap("server", doc)
		return err
	})
	return out, err
}

func (s *Service) deleteServer(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.withServer(ctx, r, pServers+"delete", func(tx *db.Tx, v *Server) error {
		return s.remove(tx, r, v)
	})
}

// remove wants a server away. One without a host, or whose host has not been heard of, is ended at once; the node cleans up when it
// comes back.
func (s *Service) remove(tx *db.Tx, r *api.Request, v *Server) error {
	if err := s.unlocked(r, v); err != nil {
		return err
	}
	v.Power = "absent"
	v.want(intentNone, r.ID)
	if err := addAction(tx, v, r, "delete", "compute_terminate_instance", "", ""); err != nil {
		return err
	}
	if v.Host == "" {
		v.Gone = true
		return s.end(tx, v)
	}
	hosts, err := s.computeHosts(tx)
	if err != nil {
		return err
	}
	for _, h := range hosts {
		if h.Host == v.Host && h.Up() {
			return s.save(tx, v)
		}
	}
	s.wake(tx, v)
	return s.end(tx, v)
}

// unlocked refuses to act on a locked server for those who may not override the lock (nova/compute/api.py, check_instance_lock).
func (s *Service) unlocked(r *api.Request, v *Server) error {
	if v.LockedBy != "" && !isAdmin(r) {
		return instanceLocked(v.ID)
	}
	return nil
}
