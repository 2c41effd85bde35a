package image

import (
	"context"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

type link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

type version struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Links  []link `json:"links"`
}

// versionIDs are those of a service with named stores and without an image cache (glance/api/versions.py); the first is current.
var versionIDs = []string{"v2.15", "v2.13", "v2.12", "v2.11", "v2.10", "v2.9", "v2.8", "v2.7", "v2.6", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0"}

func (s *Service) versions(_ context.Context, r *api.Request, _ api.None) (map[string][]version, error) {
	out := make([]version, len(versionIDs))
	for i, id := range versionIDs {
		out[i] = version{ID: id, Status: "SUPPORTED", Links: []link{{"self", r.ServiceURL() + "/v2/"}}}
	}
	out[0].Status = "CURRENT"
	return map[string][]version{"versions": out}, nil
}

type importMethods struct {
	Description string   `json:"description"`
	Type        string   `json:"type"`
	Value       []string `json:"value"`
}

// importInfo: there are no import methods.
func (s *Service) importInfo(context.Context, *api.Request, api.None) (map[string]importMethods, error) {
	return map[string]importMethods{"import-methods": {"Import methods available.", "array", []string{}}}, nil
}

type store struct {
	ID      string `json:"id"`
	Default string `json:"default"`
}

func (s *Service) stores(context.Context, *api.Request, api.None) (map[string][]store, error) {
	return map[string][]store{"stores": {{storeName, "true"}}}, nil
}

// usage: without limits there is nothing to show (glance/quota/keystone.py).
func (s *Service) usage(context.Context, *api.Request, api.None) (map[string]struct{}, error) {
	return map[string]struct{}{"usage": {}}, nil
}

type taskList struct {
	Tasks  []string `json:"tasks"`
	First  string   `json:"first"`
	Schema string   `json:"schema"`
}

// listTasks: tasks come from imports only, so there are none.
func (s *Service) listTasks(context.Context, *api.Request, api.None) (taskList, error) {
	return taskList{[]string{}, "/v2/tasks", "/v2/schemas/tasks"}, nil
}

func (s *Service) showTask(_ context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, fault.NotFound("Could not find task %s", r.Path("task_id"))
}

func (s *Service) imageTasks(ctx context.Context, r *api.Request, _ api.None) (map[string][]string, error) {
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		img, err := s.known(tx, r, r.Path("image_id"))
		if err != nil {
			return err
		}
		return enforce(r, "get_image", img)
	})
	return map[string][]string{"tasks": {}}, err
}
