package image

import (
	"errors"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/webob"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// isAdmin is upstream's context.is_admin: the context_is_admin rule, whatever the token's scope.
func (s *Service) isAdmin(c *api.Caller) bool {
	return s.policy.Allowed("context_is_admin", c.Creds, nil)
}

// visible loads an image that upstream's database layer would let this caller see (glance/db/utils.py, is_image_visible); an
// unknown and an invisible one are the same 404.
func (s *Service) visible(tx *db.Tx, c *api.Caller, id string) (Image, error) {
	img, err := imageByID(tx, id)
	if errors.Is(err, db.ErrNotFound) {
		return img, notFound(id)
	}
	if err != nil || s.isAdmin(c) {
		return img, err
	}
	switch {
	case img.Owner == nil, img.Visibility == "public", img.Visibility == "community":
		return img, nil
	case c.ProjectID == "":
		return Image{}, notFound(id)
	case *img.Owner == c.ProjectID:
		return img, nil
	case img.Visibility == "shared":
		if _, err := memberOf(tx, id, c.ProjectID); err == nil {
			return img, nil
		} else if !errors.Is(err, db.ErrNotFound) {
			return Image{}, err
		}
	}
	return Image{}, notFound(id)
}

// known is visible for a request: that an image is hidden rather than missing is noted for those who ask later why.
func (s *Service) known(tx *db.Tx, r *api.Request, id string) (Image, error) {
	img, err := s.visible(tx, r.Caller, id)
	if fault.Is(err, 404) {
		if hidden, err := imageByID(tx, id); err == nil {
			r.Denied(target(hidden, r.ProjectID()), "get_image")
		}
	}
	return img, err
}

// target is an image as rules see it. Who sees a shared image of others does so as its member (glance/db/__init__.py,
// _format_image_from_db).
func target(img Image, callerProject string) policy.Target {
	return policy.TargetFunc(func(name string) (any, bool) {
		switch name {
		case "project_id", "owner":
			return orNil(img.Owner), true
		case "member_id", "member":
			if callerProject != "" && img.Visibility == "shared" && (img.Owner == nil || *img.Owner != callerProject) {
				return callerProject, true
			}
			return nil, true
		case "visibility":
			return img.Visibility, true
		case "id", "image_id":
			return img.ID, true
		case "status":
			return img.Status, true
		case "name":
			return orNil(img.Name), true
		case "protected":
			return img.Protected, true
		case "os_hidden":
			return img.Hidden, true
		case "disk_format":
			return orNil(img.DiskFormat), true
		case "container_format":
			return orNil(img.ContainerFormat), true
		}
		v, ok := img.Properties[name]
		return v, ok
	})
}

func orNil(s *string) any {
	if s == nil {
		return nil
	}
	return *s
}

// refused is what a rule's refusal says.
func refused(rule string) *fault.Error {
	return fault.Forbidden("You are not authorized to complete %s action.", rule)
}

// enforce asks a rule about an image. A caller who may not even see it gets a 404 (glance/api/v2/policy.py, ImageAPIPolicy).
func enforce(r *api.Request, rule string, img Image) error {
	t := target(img, r.ProjectID())
	if r.Can(rule, t) {
		return nil
	}
	r.Denied(t, rule)
	if rule == "get_image" || !r.Can("get_image", t) {
		return webob.Plain(404)
	}
	return refused(rule)
}
