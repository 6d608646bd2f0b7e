#include "mgmt/api.h"
#include "mgmt/vswitch.h"

static void on_info(void *opaque, int code, const char *message, const json_t *data,
		    const json_t *result)
{
	json_t *json = vswitch_json(request_mgmt(opaque)->vswitch);

	if (!code && json_is_object(result))
		json_object_set_new(json, "info", json_deep_copy(result));
	request_reply(opaque, 200, json);
}

void api_switch_get(struct http_request *request)
{
	vswitch_call(request_mgmt(request)->vswitch, "switch.info", NULL, on_info, request);
}

static void refuse(struct http_request *request, int code, const char *message)
{
	struct problem problem;

	problem_from_rpc(&problem, "the switch", code, message, NULL);
	problem.status = 503;
	request_fail(request, &problem);
}

static void on_fdb(void *opaque, int code, const char *message, const json_t *data,
		   const json_t *result)
{
	if (code)
		refuse(opaque, code, message);
	else if (!json_is_array(result))
		request_refuse(opaque, 503, NULL, "the switch answered with no list");
	else
		request_reply(opaque, 200,
			      json_pack("{s:o}", "items", json_deep_copy(result)));
}

void api_fdb_list(struct http_request *request)
{
	vswitch_call(request_mgmt(request)->vswitch, "fdb.list", NULL, on_fdb, request);
}

static void on_flushed(void *opaque, int code, const char *message, const json_t *data,
		       const json_t *result)
{
	if (code)
		refuse(opaque, code, message);
	else
		request_reply_empty(opaque);
}

void api_fdb_flush(struct http_request *request)
{
	vswitch_call(request_mgmt(request)->vswitch, "fdb.flush", NULL, on_flushed, request);
}
