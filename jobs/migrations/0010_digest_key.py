"""The key of body digests, made once and kept sealed."""

import base64
import os

from django.db import migrations, models


def make(apps, schema_editor):
    from jobs.store import secrets

    sealed = secrets.seal(base64.b64encode(os.urandom(32)).decode())
    apps.get_model("jobs", "DigestKey").objects.get_or_create(id=1, defaults={"sealed": sealed})


class Migration(migrations.Migration):
    dependencies = [("jobs", "0009_limits_per_key")]
    operations = [
        migrations.CreateModel(
            name="DigestKey",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("sealed", models.TextField()),
            ],
            options={"db_table": "digest_key", "default_permissions": ()},
        ),
        migrations.RunPython(make, migrations.RunPython.noop),
    ]
