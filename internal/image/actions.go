package image

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/api/webob"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

func (s *Service) deactivate(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return s.switchStatus(ctx, r, "deactivate", Active, Deactivated)
}

func (s *Service) reactivate(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return s.switchStatus(ctx, r, "reactivate", Deactivated, Active)
}

// switchStatus moves an image between active and deactivated; being there already is no error.
func (s *Service) switchStatus(ctx context.Context, r *api.Request, action, from, to string) (api.None, error) {
	return api.None{}, s.db.Write(ctx, func(tx *db.Tx) error {
		id := r.Path("image_id")
		if err := lockImage(tx, id); err != nil {
			return err
		}
		img, err := s.known(tx, r, id)
		if err != nil {
			return err
		}
		if err := enforce(r, action, img); err != nil {
			return err
		}
		switch img.Status {
		case to:
			return nil
		case from:
			if _, err := setStatus(tx, id, from, to); err != nil {
				return err
			}
			return emit(ctx, tx, img, "update")
		}
		return fault.Forbidden("Not allowed to %s image in status '%s'", action, img.Status)
	})
}

func (s *Service) addTag(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	tag := r.Path("tag_value")
	if strings.ContainsRune(tag, 0) || !isUTF8(tag) {
		return api.None{}, fault.BadRequest("The tag contains characters that are not allowed.")
	}
	if e := schema.Glance.Validate(s.schema.image, schema.NewDict("tags", []any{tag})); e != nil {
		return api.None{}, fault.BadRequest("%s", e.GlanceMessage("image"))
	}
	return s.changeTags(ctx, r, func(img *Image) error {
		if !slices.Contains(img.Tags, tag) {
			img.Tags = append(img.Tags, tag)
		}
		if n := len(img.Tags); n > tagQuota {
			return fault.New(http.StatusRequestEntityTooLarge, "", "Image tag limit exceeded for image %s: The limit has been exceeded on the number of allowed image tags. Attempted: %d, Maximum: %d:", img.ID, n, tagQuota)
		}
		return nil
	})
}

func (s *Service) removeTag(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	tag := r.Path("tag_value")
	return s.changeTags(ctx, r, func(img *Image) error {
		n := slices.Index(img.Tags, tag)
		if n < 0 {
			return webob.Plain(404)
		}
		img.Tags = slices.Delete(img.Tags, n, n+1)
		return nil
	})
}

func (s *Service) changeTags(ctx context.Context, r *api.Request, apply func(*Image) error) (api.None, error) {
	_, err := s.change(ctx, r, func(_ *db.Tx, img *Image) (bool, error) {
		if err := enforce(r, "modify_image", *img); err != nil {
			return false, err
		}
		return true, apply(img)
	})
	if e := fault.As(err); err != nil && e.Status == 404 && e.Message == notFound(r.Path("image_id")).Message {
		return api.None{}, fault.NotFound("Image %s not found.", r.Path("image_id"))
	}
	return api.None{}, err
}
