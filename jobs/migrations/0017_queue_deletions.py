"""Since when a queue is paused for its deletion alone, so that a deletion that died is taken back."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0016_queue_facts'),
    ]

    operations = [
        migrations.AddField(
            model_name='queue',
            name='deleting_at',
            field=models.DateTimeField(null=True),
        ),
    ]
