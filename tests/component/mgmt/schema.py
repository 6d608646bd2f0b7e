"""Checks values against the schemas of openapi.yaml: the part of JSON Schema 2020-12 it uses."""

import pathlib
import re

import yaml

OPENAPI = pathlib.Path(__file__).resolve().parents[3] / "mgmt/openapi.yaml"
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
KNOWN = {"$ref", "type", "enum", "oneOf", "properties", "required", "additionalProperties",
         "items", "pattern", "minimum", "maximum", "minLength", "maxLength", "maxItems",
         "minProperties", "default", "description"}


class Mismatch(AssertionError):
    """A value is not as its schema says."""


class OpenApi:
    """The contract."""

    def __init__(self, path=OPENAPI):
        self.root = yaml.safe_load(path.read_text(encoding="utf-8"))

    def resolve(self, node):
        """Follow $ref; members beside it are added."""
        while "$ref" in node:
            target = self.root
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
        return node

    def operations(self):
        """(method, path template, operation) of all."""
        for path, item in self.root["paths"].items():
            for method, operation in item.items():
                if method != "parameters":
                    yield method.upper(), path, operation

    def find(self, method, path):
        """The operation a request meets, and its template."""
        for each, template, operation in self.operations():
            pattern = re.sub(r"\\{\w+\\}|{\w+}", "[^/]+", template)
            if each == method and re.fullmatch(pattern, path):
                return template, operation
        return None, None

    def check_answer(self, method, path, answer):
        """An answer must be one the operation documents, with a body as documented."""
        _, operation = self.find(method, path)
        if operation is None:
            assert answer.status in (404, 405), f"{method} {path}: {answer.status}"
            self.check(answer.json, {"$ref": "#/components/schemas/Problem"})
            return
        documented = operation["responses"].get(str(answer.status))
        assert documented, f"{method} {path}: {answer.status} is not documented: {answer.text}"
        content = self.resolve(documented).get("content")
        if not content:
            assert not answer.text, f"{method} {path}: a body nobody expects"
            return
        assert answer.type in content, f"{method} {path}: {answer.type} is not documented"
        if answer.json is not None:
            self.check(answer.json, content[answer.type]["schema"])
        if answer.status >= 400:
            assert answer.json["status"] == answer.status

    def check(self, value, schema, where="$"):
        """Raise Mismatch at the first thing that is not as it should be."""
        schema = self.resolve(schema)
        assert set(schema) <= KNOWN, f"the checker does not know {set(schema) - KNOWN}"
        if "oneOf" in schema:
            self._check_one_of(value, schema["oneOf"], where)
        if "type" in schema:
            self._check_type(value, schema["type"], where)
        if "enum" in schema and value not in schema["enum"]:
            raise Mismatch(f"{where}: {value!r} is none of {schema['enum']}")
        if isinstance(value, dict):
            self._check_object(value, schema, where)
        elif isinstance(value, list):
            self._check_array(value, schema, where)
        elif isinstance(value, str):
            self._check_string(value, schema, where)
        elif isinstance(value, int) and not isinstance(value, bool):
            if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
                raise Mismatch(f"{where}: {value} is out of range")

    def _check_one_of(self, value, schemas, where):
        good = 0
        for schema in schemas:
            try:
                self.check(value, schema, where)
                good += 1
            except Mismatch:
                pass
        if good != 1:
            raise Mismatch(f"{where}: {value!r} fits {good} of oneOf")

    @staticmethod
    def _check_type(value, types, where):
        for name in [types] if isinstance(types, str) else types:
            if name == "integer" and isinstance(value, int) and not isinstance(value, bool):
                return
            if name in TYPES and isinstance(value, TYPES[name]):
                return
        raise Mismatch(f"{where}: {value!r} is no {types}")

    def _check_object(self, value, schema, where):
        properties = schema.get("properties", {})
        missing = set(schema.get("required", ())) - set(value)
        if missing:
            raise Mismatch(f"{where}: without {missing}")
        if len(value) < schema.get("minProperties", 0):
            raise Mismatch(f"{where}: too few members")
        for key, member in value.items():
            more = schema.get("additionalProperties", True)
            if key in properties:
                self.check(member, properties[key], f"{where}.{key}")
            elif more is False:
                raise Mismatch(f"{where}: {key} is not in the schema")
            elif more is not True:
                self.check(member, more, f"{where}.{key}")

    def _check_array(self, value, schema, where):
        if len(value) > schema.get("maxItems", len(value)):
            raise Mismatch(f"{where}: too many elements")
        for index, element in enumerate(value):
            self.check(element, schema.get("items", {}), f"{where}[{index}]")

    @staticmethod
    def _check_string(value, schema, where):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            raise Mismatch(f"{where}: {value!r} is too short or too long")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            raise Mismatch(f"{where}: {value!r} does not match {schema['pattern']}")
