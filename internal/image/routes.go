package image

import (
	"context"
	"net/http"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/api/webob"
	"github.com/hanok-cloud/hanok/internal/fault"
)

func (s *Service) service() *api.Service {
	const (
		image   = "/v2/images/{image_id}"
		members = image + "/members"
	)
	routes := []api.Route{
		api.Handle("GET", "", api.Public(), 300, s.versions),
		api.Handle("GET", "/versions", api.Public(), 200, s.versions),

		api.Handle("GET", "/v2/images", api.Object("get_images"), 200, s.listImages),
		api.Handle("POST", "/v2/images", api.Object("add_image"), 201, s.createImage),
		api.Handle("GET", image, api.Object("get_image"), 200, s.showImage),
		api.Handle("PATCH", image, api.Object("modify_image"), 200, s.patchImage),
		api.Handle("DELETE", image, api.Object("delete_image"), 204, s.deleteImage),
		api.Handle("PUT", image+"/file", api.Object("upload_image"), 204, s.upload),
		api.Handle("GET", image+"/file", api.Object("download_image"), 200, s.download),
		api.Handle("POST", image+"/actions/deactivate", api.Object("deactivate"), 204, s.deactivate),
		api.Handle("POST", image+"/actions/reactivate", api.Object("reactivate"), 204, s.reactivate),
		api.Handle("PUT", image+"/tags/{tag_value}", api.Object("modify_image"), 204, s.addTag),
		api.Handle("DELETE", image+"/tags/{tag_value}", api.Object("modify_image"), 204, s.removeTag),
		api.Handle("GET", image+"/tasks", api.Object("get_image"), 200, s.imageTasks),

		api.Handle("GET", members, api.Object("get_members"), 200, s.listMembers),
		api.Handle("POST", members, api.Object("add_member"), 200, s.addMember),
		api.Handle("GET", members+"/{member_id}", api.Object("get_member"), 200, s.showMember),
		api.Handle("PUT", members+"/{member_id}", api.Object("modify_member"), 200, s.updateMember),
		api.Handle("DELETE", members+"/{member_id}", api.Object("delete_member"), 204, s.removeMember),

		api.Handle("GET", "/v2/info/import", api.Authenticated(), 200, s.importInfo),
		api.Handle("GET", "/v2/info/stores", api.Authenticated(), 200, s.stores),
		api.Handle("GET", "/v2/info/usage", api.Authenticated(), 200, s.usage),
		api.Handle("GET", "/v2/tasks", api.Scoped("tasks_api_access"), 200, s.listTasks),
		api.Handle("GET", "/v2/tasks/{task_id}", api.Scoped("tasks_api_access"), 200, s.showTask),
	}
	routes = append(routes, s.metadefRoutes()...)
	for name, doc := range s.schema.docs {
		routes = append(routes, api.Handle("GET", "/v2/schemas/"+name, api.Authenticated(), 200,
			func(context.Context, *api.Request, api.None) (api.JSON, error) { return doc, nil }))
	}
	return &api.Service{
		Name: "image", Prefix: "/image", Routes: routes, Policy: s.policy, Schema: schema.Glance, Docs: s.docs,
		Rewrite: rewrite, Dialect: dialect(),
	}
}

// rewrite keeps "/v2/images/" apart from "/v2/images": the former is an image without an id, which nobody has.
func rewrite(_ *http.Request, path string) string {
	if path == "/v2/images/" || strings.ContainsRune(path, 0) || !isUTF8(path) {
		return "/v2/no-such-path"
	}
	return path
}

func dialect() api.Dialect {
	return api.Dialect{
		WriteError:       webob.Writer(nil),
		NotFound:         func(*api.Request) *fault.Error { return webob.Plain(404) },
		MethodNotAllowed: func(*api.Request) *fault.Error { return webob.Plain(405) },
		Unauthorized: func(r *api.Request) *fault.Error {
			e := webob.Plain(401)
			e.Header = http.Header{"Www-Authenticate": {`Keystone uri="` + r.BaseURL() + `/identity"`}}
			return e
		},
		Forbidden: func(_ *api.Request, rule string) *fault.Error { return refused(rule) },
		BadJSON:   func(*api.Request, error) *fault.Error { return errMalformed },
		TooLarge:  func(*api.Request) *fault.Error { return webob.Plain(413) },
		Invalid: func(_ *api.Request, e *schema.Error) *fault.Error {
			return fault.BadRequest("%s", e.GlanceMessage("image"))
		},
	}
}
