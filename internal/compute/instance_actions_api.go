package compute

import (
	"context"
	"errors"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

type actionDoc struct {
	Action    string           `json:"action"`
	ServerID  string           `json:"instance_uuid"`
	RequestID string           `json:"request_id"`
	UserID    string           `json:"user_id"`
	ProjectID string           `json:"project_id"`
	Start     string           `json:"start_time"`
	Message   *string          `json:"message"`
	Updated   *string          `json:"updated_at" mv:"2.58-"`
	Events    []map[string]any `json:"events,omitempty"`
}

func actionView(a instanceAction) actionDoc {
	return actionDoc{a.Action, a.ServerID, a.RequestID, a.UserID, a.ProjectID, isoMicros(a.StartedAt), orNull(a.Message), isoOrNull(a.UpdatedAt), nil}
}

func (s *Service) actionRoutes() []api.Route {
	all := "/v2.1/servers/{id}/os-instance-actions"
	return []api.Route{
		api.Handle("GET", all, api.Object(pActions+"list"), 200, s.indexActions, query(instanceActionsIndexQuery())),
		api.Handle("GET", all+"/{request}", api.Object(pActions+"show"), 200, s.showAction),
	}
}

// deletedToo: since 2.21 the history of deleted servers can be read.
func (s *Service) findForActions(tx *db.Tx, r *api.Request, rule string) (*Server, error) {
	v, err := serverFor(tx, r, r.Path("id"), isAdmin(r), r.Since("2.21"), false)
	if err != nil {
		return nil, err
	}
	return v, r.Enforce(pActions+rule, v.target())
}

func (s *Service) indexActions(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	limit, marker := 1<<30, ""
	var err error
	if r.Since("2.58") {
		if limit, marker, err = page(r); err != nil {
			return nil, err
		}
	}
	var rows []instanceAction
	err = s.read(ctx, func(tx *db.Tx) error {
		v, err := s.findForActions(tx, r, "list")
		if err != nil {
			return err
		}
		var w db.Where
		w.Add("server_id = ?", v.ID)
		if err := actionFilters(r, &w); err != nil {
			return err
		}
		if marker != "" {
			num, err := db.One(tx, db.Value[int64], `SELECT num FROM server_actions WHERE server_id = $1 AND request_id = $2`, v.ID, marker)
			if errors.Is(err, db.ErrNotFound) {
				return markerNotFound(marker)
			}
			if err != nil {
				return err
			}
			w.Add("num < ?", num)
		}
		rows, err = db.All(tx, scanAction, `SELECT `+actionColumns+` FROM server_actions`+w.SQL()+` ORDER BY num DESC LIMIT `+w.Arg(limit), w.Args()...)
		return err
	})
	if err != nil {
		return nil, err
	}
	docs := make([]actionDoc, len(rows))
	for i, a := range rows {
		docs[i] = actionView(a)
	}
	out := map[string]any{"instanceActions": docs}
	if r.Since("2.58") && len(rows) > 0 && len(rows) == limit {
		out["links"] = nextLink(r, "servers/"+r.Path("id")+"/os-instance-actions", rows[len(rows)-1].RequestID)
	}
	return out, nil
}

func actionFilters(r *api.Request, w *db.Where) error {
	q := r.Query()
	if !r.Since("2.58") {
		return nil
	}
	var since, before int64
	if q.Has("changes-since") {
		t, err := parseISO(q.Get("changes-since"))
		if err != nil {
			return fault.BadRequest("Invalid filter field: changes-since.")
		}
		since = t.UnixMicro()
		w.Add("updated_at >= ?", since)
	}
	if q.Has("changes-before") && r.Since("2.66") {
		t, err := parseISO(q.Get("changes-before"))
		if err != nil {
			return fault.BadRequest("Invalid filter field: changes-before.")
		}
		if before = t.UnixMicro(); before < since {
			return fault.BadRequest("The value of changes-since must be less than or equal to changes-before.")
		}
		w.Add("updated_at <= ?", before)
	}
	return nil
}

func (s *Service) showAction(ctx context.Context, r *api.Request, _ api.None) (out map[string]actionDoc, err error) {
	err = s.read(ctx, func(tx *db.Tx) error {
		v, err := s.findForActions(tx, r, "show")
		if err != nil {
			return err
		}
		a, err := db.One(tx, scanAction, `SELECT `+actionColumns+` FROM server_actions WHERE server_id = $1 AND request_id = $2`, v.ID, r.Path("request"))
		if errors.Is(err, db.ErrNotFound) {
			return fault.NotFound("Action %s not found", r.Path("request"))
		}
		if err != nil {
			return err
		}
		d := actionView(a)
		// Events are for those who may see them; since 2.51 everybody sees them, but not their tracebacks.
		full := r.Can(pActions+"events", v.target())
		if full || r.Since("2.51") {
			d.Events = []map[string]any{eventView(r, a, full, r.Can(pActions+"events:details", v.target()))}
		}
		out = map[string]actionDoc{"instanceAction": d}
		return nil
	})
	return out, err
}

func eventView(r *api.Request, a instanceAction, full, details bool) map[string]any {
	e := map[string]any{"event": a.Event, "start_time": isoMicros(a.StartedAt), "finish_time": isoOrNull(a.FinishedAt), "result": orNull(a.Result)}
	if full {
		e["traceback"] = nil
		if r.Since("2.62") {
			e["host"] = orNull(a.Host)
		}
	}
	if r.Since("2.62") {
		e["hostId"] = hostID(a.Host, a.ProjectID)
	}
	if details && r.Since("2.84") {
		e["details"] = orNull(a.Details)
	}
	return e
}
